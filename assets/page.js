// Runs in the head, before gradio's page; PAGE holds the visitor's language and texts (demo/ui/front.py).

// Gradio reads the browser's language once. The server has chosen it: by the switch, or by the browser.
Object.defineProperty(navigator, "language", { get: () => PAGE.tag });

// Names for controls that gradio leaves without one, for those who hear the page.
{
  const nameless = "#conversation button:not([aria-label]):has(img)";
  let isDue = false;
  new MutationObserver(() => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      for (const button of document.querySelectorAll(nameless)) button.ariaLabel = PAGE.picture;
    });
  }).observe(document, { childList: true, subtree: true });
}
