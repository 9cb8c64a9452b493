// Gradio's page has words that its own translations leave out. Those that can be met here are in
// assets/locales/gradio.*.json, or made by demo/ui/uploads.py; "{}" is anything, and "{2}" what the second of them was.
// Texts are replaced in its notices and pictures alone, as any other may be a visitor's or a model's.
{
  const NAMES = ["aria-label", "title", "placeholder", "alt"];
  const TEXTS = ".toast-wrap, .image-container";
  const words = new Map(), forms = [];
  for (const [theirs, said] of Object.entries(PAGE.gradio)) {
    const parts = theirs.split("{}").map(part => part.replace(/[.*+?^$(){}|[\]\\]/g, "\\$&"));
    if (parts.length === 1) words.set(theirs, said);
    else forms.push([new RegExp(`^${parts.join("(.*)")}$`, "s"), said]);
  }

  const told = text => {
    const known = words.get(text);
    if (known) return known;
    for (const [form, said] of forms) {
      const found = form.exec(text);
      let index = 0;
      if (found) return said.replace(/\{(\d?)\}/g, (_, number) => told(found[number || ++index]));
    }
    return text;
  };
  const tellName = (element, name) => {
    const text = element.getAttribute(name), said = text && told(text);
    if (said !== text) element.setAttribute(name, said);
  };
  const tellText = node => {
    if (!node.parentElement?.closest(TEXTS)) return;
    const text = node.data.trim(), said = text && told(text);
    if (said !== text) node.data = said;
  };
  const tell = root => {
    if (root.nodeType === Node.TEXT_NODE) return tellText(root);
    if (root.nodeType !== Node.ELEMENT_NODE) return;
    const named = `:is(${NAMES.map(name => `[${name}]`)})`;
    for (const element of [root, ...root.querySelectorAll(named)]) NAMES.forEach(name => tellName(element, name));
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) tellText(texts.currentNode);
  };

  if (words.size) new MutationObserver(changes => {
    for (const {type, target, attributeName, addedNodes} of changes)
      if (type === "attributes") tellName(target, attributeName);
      else addedNodes.forEach(tell);
  }).observe(document, {childList: true, subtree: true, attributes: true, attributeFilter: NAMES});
}
