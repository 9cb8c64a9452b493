// Runs in the head, before gradio's page; PAGE holds the visitor's language and texts (demo/ui/front.py).

// Gradio reads the browser's language once. The server has chosen it: by the switch, or by the browser.
Object.defineProperty(navigator, "language", { get: () => PAGE.tag });

// Names for controls that gradio leaves without one, for those who hear the page; a button beside each question, which
// presses the page's own for this question (demo/ui/tabs/chat_wiring.py); and for each picture of a conversation its size,
// which its name tells (demo/ui/pictures.py), so that its place is there before it is.
{
  const nameless = "#conversation button:not([aria-label]):has(img)";
  const unequipped = "#conversation .user-row:not(:has(.edit-question))";
  const pencil = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4"/></svg>';
  const equip = row => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "edit-question", innerHTML: pencil, title: PAGE.edit });
    button.ariaLabel = PAGE.edit;
    button.addEventListener("click", () => {
      window.questionToEdit = [...document.querySelectorAll("#conversation .user-row")].indexOf(row);
      document.querySelector("#edit-question").click();
    });
    row.prepend(button);
  };
  const unsized = "#conversation .image-frame img:not([style*='--side'])";
  const size = image => {
    const [, width, height] = /-(\d+)x(\d+)\.\w+$/.exec(image.src) ?? [];
    image.style.setProperty("--side", width ? `${width}px` : "auto");
    if (width) image.style.setProperty("--ratio", width / height);
  };
  let isDue = false;
  new MutationObserver(() => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      for (const button of document.querySelectorAll(nameless)) button.ariaLabel = PAGE.picture;
      document.querySelectorAll(unequipped).forEach(equip);
      document.querySelectorAll(unsized).forEach(size);
      for (const tabs of document.querySelectorAll("[role=tablist]:not([title])")) tabs.title = PAGE.keys;
    });
  }).observe(document, { childList: true, subtree: true });
}
