// Keys for those who would rather not reach for the mouse. They press what is there to be clicked, on the open tab:
//
//   /              to its question, unless something is being written
//   Ctrl+Enter     ask (on a Mac also Command+Enter)
//   Enter          in the chat's box: send. Gradio's own page waits for the browser's next frame before it does.
//   Escape         stop the answer that is being written
//   Alt+1 …        open another tab
{
  const FIELDS = "#message textarea, #ground-phrase :is(textarea, input), #ground-question :is(textarea, input), #compare-question textarea";
  const BOX = "#message textarea", SENDS = "#message .submit-button";
  const RUNS = "#message .submit-button, .switch button.primary, #compare-run";
  const STOPS = "#message .stop-button, .switch button:last-child, #compare-stop";

  const usable = selector => [...document.querySelectorAll(selector)].find(
    element => !element.disabled && element.checkVisibility({visibilityProperty: true}));
  const isComposed = event => event.isComposing || event.keyCode === 229;  // this Enter takes a word of an input method
  const isWriting = target => target.closest?.("input, textarea, select, [contenteditable=true]");

  const actionOf = event => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (event.key === "Escape" && isPlain) return document.fullscreenElement ? null : [usable(STOPS), "click"];
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return [usable(RUNS), "click"];
    if (event.key === "Enter" && isPlain && event.target.matches?.(BOX) && !isComposed(event)) return [usable(SENDS), "click"];
    if (event.key === "/" && isPlain && !isWriting(event.target)) return [usable(FIELDS), "focus"];
    const digit = event.altKey && !event.ctrlKey && !event.metaKey && /^Digit([1-9])$/.exec(event.code);
    return digit ? [[...document.querySelectorAll("[role=tab]")].filter(tab => tab.checkVisibility())[digit[1] - 1], "click"] : null;
  };

  document.addEventListener("keydown", event => {
    const [element, act] = (!event.defaultPrevented && !event.repeat && actionOf(event)) || [];
    if (!element) return;
    event.preventDefault();
    event.stopPropagation();
    element[act]();
  }, true);
}
