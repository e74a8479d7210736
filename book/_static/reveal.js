// A link may lead into a solution that is closed: open whatever hides its target.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = ".toggle-hidden, details:not([open])";
  let opened = false;
  for (let box; (box = target?.parentElement.closest(closed)); opened = true) {
    if (box.tagName === "DETAILS") box.open = true;
    else box.querySelector(".toggle-button").click();
  }
  if (opened) target.scrollIntoView();
}
addEventListener("load", reveal);
addEventListener("hashchange", reveal);
