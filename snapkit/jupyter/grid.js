// A table that asks the kernel for the rows in view. Text goes into the page as text, never as HTML.

const ROW = 26; // pixels; as in grid.css
const TALLEST = 8_000_000; // pixels that all browsers scroll
const PAGE = 100; // rows that are asked for at once; as many come with a new view

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function hint(cell) {
  if (typeof cell === "string") return cell;
  const [, moment, full] = cell;
  if (moment === null) return full;
  return `${full}\n${local(moment)}`;
}

const text = (cell) => (typeof cell === "string" ? cell : cell[0]);

function render({ model, el }) {
  // Each widget has this script for itself: a count of widgets would be 1 in all of them.
  const id = `snapkit-grid-${Math.random().toString(36).slice(2)}`;
  const root = element("div", "snapkit-grid", el);
  const keys = guard(root);
  const bar = element("div", "snapkit-bar", root);
  const field = element("label", "", bar);
  field.append("Filter ");
  const filter = element("input", "", field, {
    type: "search",
    spellcheck: "false",
    placeholder: "words in any column, or Column=value",
    "aria-controls": id,
  });
  const status = element("span", "snapkit-status", bar, { role: "status" });
  status.textContent = "Waiting for the kernel…";
  const box = element("div", "snapkit-scroll", root, { id, role: "grid", tabindex: "0", "aria-readonly": "true" });
  const head = element("div", "snapkit-head", box, { role: "row", "aria-rowindex": "1" });
  const space = element("div", "snapkit-space", box, { role: "rowgroup" });

  let view = null;
  let widths = [];
  let measured = false; // were they, with the font that the page has?
  let pages = new Map(); // number of a page -> its rows, or null while they are on their way
  let active = [0, 0]; // row (-1: the names of the columns) and column
  let chosen = null;
  let typing = 0;

  const height = () => Math.min(view.count * ROW, TALLEST);
  const inView = () => Math.max(1, Math.floor((box.clientHeight - ROW) / ROW));
  const scaled = () => height() < view.count * ROW;
  // Where there are too many rows to scroll by pixels, the bar says how far down it is.
  const farthest = () => Math.max(1, height() + ROW - box.clientHeight);
  const first = () =>
    scaled()
      ? Math.round((box.scrollTop / farthest()) * (view.count - inView()))
      : Math.floor(box.scrollTop / ROW);

  function row(place) {
    return pages.get(Math.floor(place / PAGE))?.[place % PAGE];
  }

  function ask(from, to) {
    for (let page = Math.floor(from / PAGE); page <= Math.floor(to / PAGE); page += 1) {
      if (pages.has(page)) continue;
      pages.set(page, null);
      model.send({ ask: "rows", version: view.version, start: page * PAGE, count: PAGE });
    }
    if (pages.size > 60) {
      const near = Math.floor(from / PAGE);
      for (const page of [...pages.keys()]) if (Math.abs(page - near) > 20) pages.delete(page);
    }
  }

  function measure() {
    measured = box.clientWidth > 0;
    const pen = document.createElement("canvas").getContext("2d");
    const font = getComputedStyle(box);
    const long = (t, weight) => {
      pen.font = `${weight} ${font.fontSize} ${font.fontFamily}`;
      return Math.ceil(pen.measureText(t).width);
    };
    widths = view.columns.map((column, i) => {
      const texts = view.rows.map((cells) => text(cells[i]));
      const name = long(column.name, 600) + 27;
      // Of an id, its first eight digits tell enough; all of it is in the hint.
      if (texts.some((t) => ID.test(t)) && texts.every((t) => t === "" || ID.test(t))) return Math.max(name, long("00000000…", 400) + 16);
      return Math.min(Math.max(name, ...texts.map((t) => long(t.slice(0, 80), 400) + 16)), 280);
    });
  }

  function layOut() {
    root.style.setProperty("--snapkit-columns", widths.map((w) => `${w}px`).join(" "));
  }

  function drawHead() {
    head.replaceChildren();
    view.columns.forEach((column, i) => {
      const [by, down] = view.sort ?? [null, false];
      const order = by === i ? (down ? "descending" : "ascending") : "none";
      const cell = element("div", "snapkit-cell", head, {
        role: "columnheader",
        "aria-sort": order,
        "aria-colindex": String(i + 1),
        id: `${id}-h-${i}`,
        title: `Sort by ${column.name}`,
      });
      if (column.right) cell.classList.add("snapkit-right");
      element("span", "snapkit-name", cell).textContent = column.name;
      element("span", "snapkit-order", cell, { "aria-hidden": "true" }).textContent =
        order === "none" ? "" : down ? "▼" : "▲";
      cell.addEventListener("click", () => {
        active = [-1, i];
        model.send({ ask: "sort", column: i });
      });
      const edge = element("span", "snapkit-edge", cell, { "aria-hidden": "true", title: "Drag to change the width" });
      edge.addEventListener("click", (event) => event.stopPropagation());
      edge.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        edge.setPointerCapture(event.pointerId);
        const start = event.clientX;
        const before = widths[i];
        const move = (e) => {
          widths[i] = Math.max(30, before + e.clientX - start);
          layOut();
        };
        edge.addEventListener("pointermove", move);
        edge.addEventListener("pointerup", () => edge.removeEventListener("pointermove", move), { once: true });
      });
    });
  }

  function draw() {
    if (!view) return;
    const from = Math.max(0, first() - 5);
    const to = Math.min(view.count, first() + inView() + 6);
    space.style.height = `${height()}px`;
    if (to > from) ask(from, to - 1);
    const offset = scaled() ? box.scrollTop - (first() - from) * ROW : from * ROW;
    const rows = [];
    for (let place = from; place < to; place += 1) {
      const cells = row(place);
      const line = element("div", "snapkit-row", null, {
        role: "row",
        "aria-rowindex": String(place + 2),
        "aria-selected": String(place === chosen),
      });
      line.style.top = `${offset + (place - from) * ROW}px`;
      if (place === chosen) line.classList.add("snapkit-chosen");
      if (place % 2) line.classList.add("snapkit-odd");
      view.columns.forEach((column, i) => {
        const cell = element("div", "snapkit-cell", line, {
          role: "gridcell",
          "aria-colindex": String(i + 1),
          id: `${id}-${place}-${i}`,
        });
        if (column.right) cell.classList.add("snapkit-right");
        if (cells) {
          cell.textContent = text(cells[i]);
          cell.title = hint(cells[i]);
        } else if (i === 0) {
          cell.textContent = "…";
        }
      });
      line.addEventListener("click", (event) => {
        const column = [...line.children].indexOf(event.target.closest(".snapkit-cell"));
        active = [place, Math.max(column, 0)];
        choose(place);
      });
      rows.push(line);
    }
    space.replaceChildren(...rows);
    mark();
  }

  function mark() {
    const [place, column] = active;
    for (const old of box.querySelectorAll(".snapkit-active")) old.classList.remove("snapkit-active");
    const name = place < 0 ? `${id}-h-${column}` : `${id}-${place}-${column}`;
    const cell = document.getElementById(name);
    if (cell) {
      cell.classList.add("snapkit-active");
      box.setAttribute("aria-activedescendant", name);
    } else {
      box.removeAttribute("aria-activedescendant");
    }
  }

  function reveal() {
    const [place, column] = active;
    if (place >= 0) {
      if (scaled()) {
        if (place < first() || place >= first() + inView()) {
          box.scrollTop = (place / Math.max(1, view.count - inView())) * farthest();
        }
      } else if (place * ROW < box.scrollTop) {
        box.scrollTop = place * ROW;
      } else if ((place + 2) * ROW > box.scrollTop + box.clientHeight) {
        box.scrollTop = (place + 2) * ROW - box.clientHeight;
      }
    }
    draw();
    const cell = head.children[column];
    if (!cell) return;
    const pinned = head.children[0].offsetWidth; // the first column stays
    if (column === 0) box.scrollLeft = 0;
    else if (cell.offsetLeft - pinned < box.scrollLeft) box.scrollLeft = cell.offsetLeft - pinned;
    const right = cell.offsetLeft + cell.offsetWidth;
    if (column > 0 && right > box.scrollLeft + box.clientWidth) box.scrollLeft = right - box.clientWidth;
  }

  function choose(place) {
    chosen = place;
    draw();
    model.send({ ask: "choose", version: view.version, place });
  }

  function say() {
    const rows = view.total === 1 ? "row" : "rows";
    const all = view.total === 0 ? "no rows" : `${number(view.total)} ${rows}`;
    status.textContent = view.count === view.total ? all : `${number(view.count)} of ${all}`;
  }

  box.addEventListener("scroll", () => draw());
  box.addEventListener("keydown", (event) => {
    if (!view || event.ctrlKey || event.metaKey || event.altKey) return;
    let [place, column] = active;
    const last = view.count - 1;
    switch (event.key) {
      case "ArrowDown":
        place += 1;
        break;
      case "ArrowUp":
        place -= 1;
        break;
      case "PageDown":
        place += inView();
        break;
      case "PageUp":
        place = Math.max(place - inView(), 0);
        break;
      case "Home":
        place = 0;
        break;
      case "End":
        place = last;
        break;
      case "ArrowRight":
        column += 1;
        break;
      case "ArrowLeft":
        column -= 1;
        break;
      case "Enter":
      case " ":
        event.preventDefault();
        if (place < 0) model.send({ ask: "sort", column });
        else if (place <= last) choose(place);
        return;
      default:
        return;
    }
    event.preventDefault();
    active = [Math.min(Math.max(place, -1), last), Math.min(Math.max(column, 0), view.columns.length - 1)];
    reveal();
  });

  function find() {
    clearTimeout(typing);
    typing = 0;
    if (!view || filter.value === view.filter) return;
    box.setAttribute("aria-busy", "true");
    model.send({ ask: "filter", text: filter.value });
  }
  filter.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, 120);
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Enter") find();
    if (event.key === "ArrowDown") {
      event.preventDefault();
      box.focus();
    }
  });

  function hear(message) {
    if (message.tell === "view") {
      const names = JSON.stringify(message.columns);
      const other = !view || JSON.stringify(view.columns) !== names;
      const moved = !view || view.version !== message.version;
      view = message;
      if (moved) {
        pages = new Map([[0, view.rows]]);
        box.scrollTop = 0;
        active = [active[0] < 0 ? -1 : 0, other ? 0 : active[1]];
      }
      if (other || widths.length === 0) {
        measure();
        layOut();
        box.scrollLeft = 0;
      }
      chosen = view.place;
      if (!typing && document.activeElement !== filter) filter.value = view.filter;
      root.classList.add("snapkit-live");
      root.classList.toggle("snapkit-bare", !view.bar);
      box.style.height = `${view.height}px`;
      box.setAttribute("aria-label", view.label);
      box.setAttribute("aria-rowcount", String(view.count + 1));
      box.setAttribute("aria-colcount", String(view.columns.length));
      drawHead();
      say();
      if (chosen === null) draw();
      else {
        active = [chosen, active[1]];
        reveal();
      }
      box.setAttribute("aria-busy", "false");
    } else if (message.tell === "rows" && view && message.version === view.version) {
      pages.set(message.start / PAGE, message.rows);
      draw();
    }
  }

  model.on("msg:custom", hear);
  const resized = new ResizeObserver(() => {
    if (view && !measured) {
      measure();
      layOut();
    }
    draw();
  });
  resized.observe(box);
  model.send({ ask: "view" });
  const waiting = setTimeout(() => {
    if (!view) status.textContent = "No answer yet. If the kernel is gone, run the cell again.";
  }, 10_000);
  return () => {
    clearTimeout(waiting);
    keys();
    resized.disconnect();
    model.off("msg:custom", hear);
  };
}

export default { render };
