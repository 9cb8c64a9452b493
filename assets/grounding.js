// The grounding tab in the browser: a region drawn over the picture, and a result that is brought into sight.
//
// The four numbers below the picture are what holds: this writes
// them when somebody draws, and shows the rectangle that they say, however they came about. They are pixels of the
// picture itself, whatever size it is shown at.
{
  const HOME = "#ground-picture";
  const NEAR = 6; // px on the screen: a press that moved less is a tap
  let first = null; // the corner that was tapped, or where a drag began
  let isDragging = false;
  let source = "";

  const image = () => document.querySelector(`${HOME} img`);
  const fields = () => ["x0", "y0", "x1", "y1"].map(name => document.querySelector(`#ground-${name} input`));
  const isAsking = () => fields().every(field => field?.checkVisibility());

  // Where the picture itself is within its element, which may leave room around it.
  const seen = picture => {
    const {left, top, width, height} = picture.getBoundingClientRect();
    const scale = Math.min(width / picture.naturalWidth, height / picture.naturalHeight);
    const wide = picture.naturalWidth * scale, high = picture.naturalHeight * scale;
    return {left: left + (width - wide) / 2, top: top + (height - high) / 2, scale};
  };

  const within = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
  const pixelOf = (event, picture) => {
    const {left, top, scale} = seen(picture);
    return [within((event.clientX - left) / scale, picture.naturalWidth),
            within((event.clientY - top) / scale, picture.naturalHeight)];
  };

  const write = numbers => fields().forEach((field, index) => {
    field.value = numbers[index];
    field.dispatchEvent(new Event("input", {bubbles: true}));
  });
  const mark = (a, b) => write([Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])]);

  const show = () => {
    const home = document.querySelector(HOME), picture = image();
    if (!home) return;
    let frame = home.querySelector(".marked");
    if (!frame) {
      frame = home.appendChild(document.createElement("div"));
      frame.className = "marked";
      new ResizeObserver(() => requestAnimationFrame(show)).observe(home); // hidden tabs have no size
      new MutationObserver(() => requestAnimationFrame(forget)).observe(home, {childList: true, subtree: true});
    }
    const [x0, y0, x1, y1] = fields().map(field => Number(field?.value));
    const isWhole = x0 !== x1 && y0 !== y1;
    const isHalf = first !== null && !isDragging;
    home.dataset.marks = isAsking() && picture ? "yes" : "no";
    const tip = document.querySelector("#ground-tip .tip");
    if (tip) tip.dataset.step = isHalf ? "half" : isWhole ? "whole" : "none";
    frame.hidden = !picture?.naturalWidth || !isAsking() || !(isWhole || isHalf);
    if (frame.hidden) return;
    const {left, top, scale} = seen(picture), origin = home.getBoundingClientRect();
    const [a, b] = isHalf ? [first, first] : [[Math.min(x0, x1), Math.min(y0, y1)], [Math.max(x0, x1), Math.max(y0, y1)]];
    frame.style.left = `${left - origin.left - home.clientLeft + a[0] * scale}px`;
    frame.style.top = `${top - origin.top - home.clientTop + a[1] * scale}px`;
    frame.style.width = `${(b[0] - a[0]) * scale}px`;
    frame.style.height = `${(b[1] - a[1]) * scale}px`;
  };

  // A region goes with its picture.
  const forget = () => {
    if (!source || image()) return;
    source = "";
    first = null;
    write([0, 0, 0, 0]);
    show();
  };

  const onPicture = event => event.target.closest?.(`${HOME} img`) && isAsking() && image()?.naturalWidth;

  document.addEventListener("pointerdown", event => {
    if (event.button !== 0 || !onPicture(event)) return;
    event.preventDefault(); // else the browser drags the picture
    const at = pixelOf(event, image());
    if (first) {
      mark(first, at);
      first = null;
    } else {
      first = at;
      isDragging = true;
      const {clientX, clientY} = event;
      const move = moved => mark(at, pixelOf(moved, image()));
      const end = ended => {
        document.removeEventListener("pointermove", move);
        document.removeEventListener("pointerup", end);
        document.removeEventListener("pointercancel", end);
        isDragging = false;
        if (Math.hypot(ended.clientX - clientX, ended.clientY - clientY) >= NEAR) first = null;
        else write([0, 0, 0, 0]);
        show();
      };
      document.addEventListener("pointermove", move);
      document.addEventListener("pointerup", end);
      document.addEventListener("pointercancel", end);
    }
    show();
  });
  document.addEventListener("dragstart", event => onPicture(event) && event.preventDefault(), true);
  document.addEventListener("click", event => onPicture(event) && event.stopPropagation(), true);
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !first) return;
    first = null;
    show();
  });

  // A row of the table is pressed: its box is the region, to be changed and asked about.
  document.addEventListener("click", event => {
    const row = event.target.closest?.("#ground-table [data-box]");
    if (!row || row.ariaPressed !== "true") return; // pressed again: all boxes are shown
    document.querySelector("#ground-task input[value=region]:not(:disabled)")?.click();
    first = null;
    write(row.dataset.box.split(","));
    requestAnimationFrame(show);
  });

  document.addEventListener("input", event => event.target.closest?.("#grounding") && requestAnimationFrame(show));
  document.addEventListener("load", event => {
    const button = event.target.closest?.(":is(#ground-drawn, #caption-drawn) button:not([aria-label])");
    if (button) button.ariaLabel = PAGE.picture; // gradio gives it no name
    if (event.target !== image()) return;
    if (source && source !== event.target.src) write([0, 0, 0, 0]); // it was a region of another picture
    source = event.target.src;
    first = null;
    show();
  }, true);
  // Where the result is below what asks for it, as on a phone.
  document.addEventListener("click", event => {
    if (event.target.closest?.("#ground-run, #ground-ask"))
      document.querySelector("#grounding .stage").scrollIntoView({block: "nearest"});
  });

  addEventListener("resize", show);
  new ResizeObserver(show).observe(document.documentElement);
}
