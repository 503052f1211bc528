// One record, drawn as it unfolds. Text goes into the page as text, never as HTML.

function hint(node) {
  if (node.moment === undefined) return node.hint ?? "";
  return `${node.hint}\n${local(node.moment)}`;
}

function render({ model, el }) {
  const root = element("div", "snapkit-tree snapkit-closed", el);
  const keys = guard(root);
  const head = element("div", "snapkit-tree-head", root);
  const title = element("div", "snapkit-title", head, { tabindex: "-1", role: "heading", "aria-level": "3" });
  const close = element("button", "snapkit-close", head, { type: "button", title: "Close this record (Escape)" });
  close.textContent = "Close";
  const related = element("div", "snapkit-related", root);
  const body = element("div", "snapkit-tree-body", root);
  const told = element("div", "snapkit-told", root, { role: "status" });

  const unfolded = new Map(); // table -> the paths that are unfolded: from one record of it to the next
  let open = new Set();
  let shown = { table: "", title: "" };
  let followed = false;

  function link(node, parent) {
    const button = element("button", "snapkit-link", parent, { type: "button" });
    button.textContent = node.text;
    button.addEventListener("click", () => {
      followed = true;
      model.send({ ask: "link", link: node.link });
    });
    return button;
  }

  function draw(nodes, parent, path) {
    for (const node of nodes) {
      const name = `${path}/${node.aside ? "Empty" : node.name}`;
      if (node.nodes || node.block !== undefined) {
        const fold = element("details", node.aside ? "snapkit-aside" : "", parent);
        const line = element("summary", "", fold);
        element("span", "snapkit-key", line).textContent = node.name;
        element("span", "snapkit-few", line).textContent = ` ${node.text}`;
        const unfold = () => {
          if (fold.children.length > 1) return;
          if (node.block !== undefined) element("pre", "", fold, { tabindex: "0" }).textContent = node.block;
          else draw(node.nodes, element("div", "snapkit-inner", fold), name);
        };
        if (open.has(name)) {
          fold.open = true;
          unfold();
        }
        fold.addEventListener("toggle", () => {
          if (fold.open) {
            open.add(name);
            unfold();
          } else open.delete(name);
        });
      } else {
        const line = element("div", "snapkit-line", parent);
        element("span", "snapkit-key", line).textContent = node.name;
        line.append(" ");
        const value = node.link === undefined ? element("span", "snapkit-value", line) : link(node, line);
        value.textContent = node.text;
        value.title = hint(node);
        if (node.text.startsWith("masked:")) value.classList.add("snapkit-masked");
      }
    }
  }

  function hear(message) {
    if (message.tell !== "record") return;
    if (!unfolded.has(message.table)) unfolded.set(message.table, new Set());
    open = unfolded.get(message.table);
    const other = message.table !== shown.table || message.title !== shown.title;
    const scrolled = body.scrollTop;
    shown = message;
    root.classList.toggle("snapkit-closed", !message.table);
    title.replaceChildren();
    element("span", "snapkit-of", title).textContent = message.table;
    element("span", "snapkit-which", title, { title: message.title }).textContent = message.title;
    related.replaceChildren();
    if (message.related.length) element("span", "", related).textContent = "Belongs to it:";
    message.related.forEach((name, place) => {
      const button = element("button", "", related, { type: "button" });
      button.textContent = name;
      button.addEventListener("click", () => model.send({ ask: "related", place }));
    });
    body.replaceChildren();
    draw(message.nodes, body, "");
    body.scrollTop = other ? 0 : scrolled;
    told.textContent = message.table ? `${message.table} ${message.title} is open` : "";
    if (followed && message.table) title.focus({ preventScroll: true });
    followed = false;
  }

  function leave() {
    model.send({ ask: "close" });
    root.closest(".snapkit-explorer")?.querySelector(".snapkit-rows .snapkit-scroll")?.focus();
  }
  close.addEventListener("click", leave);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      leave();
    }
  });

  model.on("msg:custom", hear);
  model.send({ ask: "view" });
  return () => {
    keys();
    model.off("msg:custom", hear);
  };
}

export default { render };
