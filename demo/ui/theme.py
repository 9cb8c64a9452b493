"""The page's own look: colours, type and spacing as a gradio theme. The rest is in ``assets/style.css``."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils.colors import Color

_LATIN = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "Arial")
_CHINESE = ("PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Micro Hei")
_SYSTEM = (*_LATIN, *_CHINESE, "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

# A quiet green-blue for what can be pressed; the boxes' colours are louder and stay apart from it.
_ACCENT = Color(
    c50="#eef7f6", c100="#d5ebe8", c200="#aed7d2", c300="#7fbdb6", c400="#4f9f97", c500="#2f837b",
    c600="#226a64", c700="#1d5551", c800="#1a4542", c900="#173936", c950="#0b2120",
)  # fmt: skip
_PAPER = Color(
    c50="#f8f8f6", c100="#f0f0ec", c200="#e2e2dc", c300="#cbcbc3", c400="#a0a098", c500="#6a6a63",
    c600="#575751", c700="#403f3b", c800="#282825", c900="#1c1c1a", c950="#131312",
)  # fmt: skip


def make_theme() -> gr.themes.Base:
    """System fonts only, so that the page asks no other server for anything."""
    theme = gr.themes.Base(
        primary_hue=_ACCENT, secondary_hue=_ACCENT, neutral_hue=_PAPER, font=_SYSTEM, font_mono=_MONO,
        radius_size=gr.themes.sizes.radius_md, spacing_size=gr.themes.sizes.spacing_md,
    )  # fmt: skip
    return theme.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="white",
        block_label_background_fill_dark="*neutral_900",
        block_label_border_width="0px",
        block_label_text_color="*neutral_500",
        block_title_text_weight="500",
        block_radius="8px",
        container_radius="8px",
        input_radius="6px",
        checkbox_label_border_width="1px",
        button_large_radius="8px",
        button_medium_radius="8px",
        button_small_radius="6px",
        code_background_fill="*neutral_100",
        code_background_fill_dark="*neutral_800",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_text_color="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_width="1px",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_shadow_focus="0 0 0 2px *primary_500",
        input_shadow_focus_dark="0 0 0 2px *primary_400",
        input_border_color_focus="*primary_400",
        input_border_color_focus_dark="*primary_400",
    )
