// The open tab is in the page's address, so that a reload stays on it and a link leads to it: …/#grounding. The first
// tab needs no name there. Gradio opens the first one and keeps no other.
{
  const TABS = "#tabs [role=tab]";
  const named = () => location.hash.slice(1);
  const open = () => {
    const tabs = [...document.querySelectorAll(TABS)];
    const tab = tabs.find(one => one.dataset.tabId === named()) ?? (named() ? undefined : tabs[0]);
    if (tab?.ariaSelected === "false") tab.click();
    return tabs.length > 0;
  };
  const note = () => {
    const [first] = document.querySelectorAll(TABS);
    const id = document.querySelector(`${TABS}[aria-selected=true]`)?.dataset.tabId;
    const name = id === first?.dataset.tabId ? "" : id;
    if (id && name !== named())
      history.replaceState(history.state, "", name ? `#${name}` : location.pathname + location.search);
  };

  new MutationObserver((_, observer) => {
    if (!open()) return;
    observer.disconnect();
    new MutationObserver(note).observe(document, {subtree: true, attributes: true, attributeFilter: ["aria-selected"]});
  }).observe(document, {childList: true, subtree: true});
  addEventListener("hashchange", open);
  document.addEventListener("click", event => {
    const language = event.target.closest?.(".languages a");
    if (language) language.hash = location.hash;
  });
}
