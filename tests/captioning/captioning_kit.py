"""Pictures and archives made for tests."""

import io
import zipfile

from PIL import Image


def png(width=64, height=48):
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    """Names and bytes, in this order; names as they are, whatever they lead to."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path
