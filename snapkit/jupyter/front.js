// What all widgets have ahead of their own script.

function element(name, className, parent, attributes = {}) {
  const node = document.createElement(name);
  if (className) node.className = className;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

const number = (n) => n.toLocaleString("en-US");
const local = (moment) => `${new Date(moment).toLocaleString(undefined, { timeZoneName: "short" })} (local time)`;

// Single keys are ours, and none of Lab's commands; what goes with Control, Command or Alt (save!) stays Lab's.
// And a time in what the kernel wrote as HTML says on hover when that is where the reader is.
function guard(root) {
  const look = (event) =>
    root.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
  const tell = ({ target }) => {
    const time = target.closest?.(".snapkit-browser time[datetime]");
    if (time) time.title = local(time.dateTime);
  };
  window.addEventListener("keydown", look, true); // ahead of Lab, that listens to the document
  window.addEventListener("pointerover", tell);
  return () => {
    window.removeEventListener("keydown", look, true);
    window.removeEventListener("pointerover", tell);
  };
}
