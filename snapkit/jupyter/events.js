// A picture of time that zooms. It draws what the kernel says is in view. Text goes into the page as text, never as HTML.

const LINE = 15; // pixels of a kind
const LEFT = 150; // of the names
const RIGHT = 12;
const AXIS = 22;
const HIDDEN = 0.000001; // a share of the width too small to drag to

const SECOND = 1000;
const STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200].map((s) => s * SECOND),
  ...[1, 2, 7, 14, 30, 91, 182, 365, 730, 1826, 3652].map((d) => d * 86400 * SECOND),
];

function drawn(name, className, parent, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  if (className) node.setAttribute("class", className);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

const iso = (moment) => new Date(moment).toISOString();
const utc = (moment) => iso(moment).replace("T", " ").replace("Z", " UTC");
const both = (moment) => `${utc(moment)}\n${local(moment)}`;

function span(ms) {
  for (const [unit, size] of [["days", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000]]) {
    if (ms >= 2 * size) return `${(ms / size).toPrecision(3)} ${unit}`;
  }
  return `${ms.toPrecision(3)} ms`;
}

function tick(moment, step) {
  const text = iso(moment);
  if (step >= 86400 * SECOND) return text.slice(0, 10);
  if (step >= 60 * SECOND) return text.slice(11, 16);
  return step >= SECOND ? text.slice(11, 19) : text.slice(14, 23);
}

function render({ model, el }) {
  const root = element("div", "snapkit-events", el);
  const keys = guard(root);
  const bar = element("div", "snapkit-bar", root);
  const button = (text, title, act) => {
    const node = element("button", "", bar, { type: "button", title });
    node.textContent = text;
    node.addEventListener("click", act);
  };
  button("Zoom in", "Up arrow, or drag over a part of the picture", () => zoom(0.5));
  button("Zoom out", "Down arrow", () => zoom(2));
  button("\u25C0 Earlier", "Left arrow", () => move(-0.25));
  button("Later \u25B6", "Right arrow", () => move(0.25));
  button("Whole", "Home", () => whole());
  const status = element("span", "snapkit-status", bar, { role: "status" });
  status.textContent = "Waiting for the kernel\u2026";
  const picture = element("div", "snapkit-picture", root, {
    role: "application",
    tabindex: "0",
    "aria-label":
      "Events over time. Arrows up and down zoom, left and right move, Home shows all. The table below lists what is in view.",
  });
  const svg = drawn("svg", "", picture);
  const legend = element("div", "snapkit-legend", root);
  legend.textContent =
    "\u25CF the time is known (the larger, the more events)   \u25AD only a window is known: it was sometime in there";
  const detail = element("div", "snapkit-detail", root, { "aria-live": "polite" });

  let view = null;
  let from = 0; // what is shown now; the kernel's answer about it may be on its way
  let to = 1;
  let waiting = false;
  let again = false;
  let brush = null; // where a drag began, and where it is

  const width = () => Math.max(picture.clientWidth, LEFT + 100);
  const plot = () => width() - LEFT - RIGHT;
  const x = (moment) => LEFT + ((moment - from) / (to - from)) * plot();
  const moment = (at) => from + ((at - LEFT) / plot()) * (to - from);
  const within = (at) => Math.min(Math.max(at, LEFT), LEFT + plot());

  function show(begin, end) {
    if (!view) return;
    const most = view.last - view.first;
    const span = Math.min(Math.max(end - begin, 1), most);
    const middle = (begin + end) / 2;
    from = Math.min(Math.max(middle - span / 2, view.first), view.last - span);
    to = from + span;
    if (waiting) again = true;
    else ask();
    draw();
  }
  function ask() {
    waiting = true;
    again = false;
    model.send({ ask: "zoom", from, to });
  }
  function zoom(factor, around = (from + to) / 2) {
    show(around - (around - from) * factor, around + (to - around) * factor);
  }
  const move = (part) => show(from + part * (to - from), to + part * (to - from));
  const whole = () => view && show(view.first, view.last);

  function draw() {
    if (!view) return;
    const height = view.lanes.length * LINE;
    const y = (lane) => lane * LINE + LINE / 2;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width()} ${height + AXIS}`);
    svg.setAttribute("height", String(height + AXIS));
    axis(height);
    view.lanes.forEach(([name, count], lane) => {
      drawn("line", "snapkit-line", svg, { x1: LEFT, x2: LEFT + plot(), y1: y(lane), y2: y(lane) });
      const text = drawn("text", "", svg, { x: LEFT - 8, y: y(lane) + 4, "text-anchor": "end" });
      text.textContent = `${name} ${number(count)}`;
    });
    for (const [lane, known, first, last, count, position, text] of view.marks) {
      if (last < from || first > to) continue;
      const begin = within(x(first));
      const end = within(x(last));
      const mark = known
        ? drawn("circle", "snapkit-mark snapkit-known", svg, {
            cx: (begin + end) / 2,
            cy: y(lane),
            r: 3 + Math.min(3.5, Math.log2(count) / 2),
          })
        : drawn("rect", "snapkit-mark snapkit-window", svg, {
            x: begin,
            y: y(lane) - 4,
            width: Math.max(end - begin, 3),
            height: 8,
          });
      const what = text || `${number(count)} ${view.lanes[lane][0]} event${count > 1 ? "s" : ""}`;
      const when = known && first === last ? both(first) : `between ${both(first)}\nand ${both(last)}`;
      drawn("title", "", mark).textContent = `${what}\n${when}`;
      mark.addEventListener("click", () => {
        if (count === 1 || last - first < 1) model.send({ ask: "choose", position });
        else show(first - (last - first) * 0.1, last + (last - first) * 0.1);
      });
    }
    if (view.chosen && view.chosen.lane !== null) chosen(y(view.chosen.lane), height);
    if (brush) {
      const [one, other] = [within(brush.start), within(brush.end)];
      drawn("rect", "snapkit-brush", svg, {
        x: Math.min(one, other),
        y: 0,
        width: Math.abs(one - other),
        height,
      });
    }
    say();
  }

  function axis(height) {
    const fits = Math.max(Math.floor(plot() / 90), 1);
    const step = STEPS.find((s) => (to - from) / s <= fits) ?? STEPS.at(-1);
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      drawn("line", "snapkit-line", svg, { x1: x(at), x2: x(at), y1: 0, y2: height + 4 });
      const end = x(at) > width() - 40; // its text would be cut off in the middle
      const text = drawn("text", "", svg, {
        x: end ? width() - 2 : x(at),
        y: height + 16,
        "text-anchor": end ? "end" : "middle",
      });
      text.textContent = tick(at, step);
      drawn("title", "", text).textContent = both(at);
    }
    const day = drawn("text", "", svg, { x: 4, y: height + 16 });
    day.textContent = `${iso(from).slice(0, 10)} UTC`;
    drawn("title", "", day).textContent = both(from);
  }

  function chosen(at, height) {
    const { first, last } = view.chosen;
    if (last < from || first > to) return;
    const begin = within(x(first));
    const end = within(x(last));
    drawn("rect", "snapkit-chosen", svg, { x: begin - 6, y: at - 7, width: end - begin + 12, height: 14, rx: 7 });
    const middle = (begin + end) / 2;
    drawn("line", "snapkit-chosen", svg, { x1: middle, x2: middle, y1: height, y2: height + 5 });
  }

  function say() {
    const count = waiting ? "\u2026" : number(view.count);
    status.textContent = `${count} of ${number(view.total)} events in view: ${span(to - from)} from ${utc(from)}`;
    status.title = `${both(from)}\nto ${both(to)}`;
  }

  function tell() {
    const event = view.chosen;
    detail.replaceChildren();
    if (!event) return;
    element("b", "", detail).textContent = event.text;
    const time = (at) => {
      const node = element("time", "", detail, { datetime: iso(at), title: local(at) });
      node.textContent = utc(at);
    };
    if (event.exact) time(event.first);
    else {
      detail.append("sometime between ");
      time(event.first);
      detail.append(" and ");
      time(event.last);
    }
    for (const [name, value] of [["Kind", event.kind], ...event.facts]) {
      element("span", "snapkit-fact", detail).textContent = `${name} ${value}`;
    }
  }

  picture.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowUp: () => zoom(0.5),
      "+": () => zoom(0.5),
      ArrowDown: () => zoom(2),
      "-": () => zoom(2),
      ArrowLeft: () => move(-0.25),
      ArrowRight: () => move(0.25),
      Home: whole,
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  });
  picture.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // else the page could not be scrolled past it
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.8 : 1.25, moment(event.clientX - svg.getBoundingClientRect().left));
    },
    { passive: false },
  );
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !view) return;
    const at = event.clientX - svg.getBoundingClientRect().left;
    if (at < LEFT) return;
    picture.focus();
    brush = { start: at, end: at, moved: false };
  });
  picture.addEventListener("pointermove", (event) => {
    if (!brush) return;
    brush.end = event.clientX - svg.getBoundingClientRect().left;
    if (!brush.moved && Math.abs(brush.end - brush.start) < 5) return; // a click, till now
    if (!brush.moved) picture.setPointerCapture(event.pointerId);
    brush.moved = true;
    draw();
  });
  const drop = (event) => {
    if (!brush) return;
    const { start, end, moved } = brush;
    brush = null;
    if (!moved) return;
    const [one, other] = [moment(within(start)), moment(within(end))];
    if (event.type === "pointerup" && Math.abs(one - other) > HIDDEN * (to - from)) {
      show(Math.min(one, other), Math.max(one, other));
    } else draw();
  };
  picture.addEventListener("pointerup", drop);
  picture.addEventListener("pointercancel", drop);

  function hear(message) {
    if (message.tell !== "view") return;
    view = message;
    waiting = false;
    if (again) {
      draw();
      tell();
      ask();
      return;
    }
    from = view.from;
    to = view.to;
    draw();
    tell();
  }

  model.on("msg:custom", hear);
  const resized = new ResizeObserver(() => draw());
  resized.observe(picture);
  model.send({ ask: "view" });
  return () => {
    keys();
    resized.disconnect();
    model.off("msg:custom", hear);
  };
}

export default { render };
