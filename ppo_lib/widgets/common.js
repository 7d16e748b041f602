// 各个小组件共用的部分。不用任何库，不发任何请求；COLORS 由 base.py 写在这一段的前面。

const [BLUE, ORANGE, GREEN] = COLORS;

// ---- 元素

function add(parent, tag, properties = {}, attributes = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  if (tag === "input") element.autocomplete = "off"; // 后退时浏览器会照次序填回旧值；由状态说了算
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
}

function addSvg(parent, tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return parent.appendChild(element);
}

function freshId() {
  window.ppoWidgetIds = (window.ppoWidgetIds || 0) + 1; // 一页上所有小组件共用一个计数
  return `ppo-widget-${window.ppoWidgetIds}`;
}

// 数写成文字：负号用“−”，不出现“−0.00”。
function num(x, digits = 2) {
  const text = x.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

// 最短的写法，例如 0.003。
function short(x) {
  return String(Number(x.toPrecision(6))).replace("-", "−");
}

// 一个小组件的外框。键盘留在里面，不让页面翻页，也不让 JupyterLab 当成快捷键。
function makeRoot(el, title, help) {
  const root = add(el, "div", { className: "ppo-widget" },
    { role: "group", "aria-label": title, "data-lm-suppress-shortcuts": "true" });
  add(root, "div", { className: "title", textContent: title });
  if (help) add(root, "p", { className: "help", textContent: help });
  root.addEventListener("keydown", (event) => {
    const free = event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab";
    if (!free && !(event.shiftKey && event.key === "Enter")) event.stopPropagation();
  });
  const followPage = () => {
    const parts = getComputedStyle(root).color.match(/^rgba?\((\d+), (\d+), (\d+)/);
    const light = parts?.slice(1).every((x) => x > 127);
    root.style.colorScheme = light ? "dark" : "light"; // 文字是浅的，页面就是暗的：滑条跟着变
    root.classList.toggle("on-dark", Boolean(light));
  };
  root.addEventListener("transitionend", followPage); // 样式里给 color 加了过渡
  new ResizeObserver(followPage).observe(root);
  return root;
}

// 说出图里是什么的一句话；变了，读屏软件就念出来。
function addSentence(root) {
  return add(root, "p", { className: "sentence" }, { role: "status", "aria-live": "polite" });
}

// 只在变了的时候才写，读屏软件不念重复的话。
function say(sentence, text) {
  if (sentence.textContent !== text) sentence.textContent = text;
}

// ---- 控件。每个返回一个函数：把控件摆到某个值上。

// 滑条。给出 values 时只停在这些值上，否则在 min 到 max 之间按 step 走。
function addSlider(parent, { label, min, max, step, values, format = num, onInput }) {
  const id = freshId();
  const row = add(parent, "div", { className: "slider" });
  add(row, "label", { htmlFor: id, textContent: label });
  const range = values ? { min: 0, max: values.length - 1, step: 1 } : { min, max, step };
  const input = add(row, "input", { type: "range", id, ...range });
  const shown = add(row, "span", { className: "value" }, { "aria-hidden": "true" });
  input.addEventListener("input", () => onInput(values ? values[+input.value] : +input.value));
  return (value) => {
    const place = String(values ? nearest(values, value) : value);
    if (input.value !== place) input.value = place;
    shown.textContent = format(value);
    input.setAttribute("aria-valuetext", format(value));
  };
}

// values 里离 value 最近的一个的下标。
function nearest(values, value) {
  let best = 0;
  values.forEach((x, i) => {
    if (Math.abs(x - value) < Math.abs(values[best] - value)) best = i;
  });
  return best;
}

// 几选一。options: [[值, 文字], …]
function addRadios(parent, { label, options, onInput }) {
  const box = add(parent, "fieldset", { className: "radios" });
  add(box, "legend", { textContent: label });
  const name = freshId();
  const inputs = options.map(([value, text]) => {
    const row = add(box, "label");
    const input = add(row, "input", { type: "radio", name, value });
    add(row, "span", { textContent: text });
    input.addEventListener("change", () => input.checked && onInput(value));
    return input;
  });
  return (value) => inputs.forEach((input) => (input.checked = input.value === value));
}

// ---- 与模型相连

function setter(model, name) {
  return (value) => {
    model.set(name, value);
    model.save_changes();
  };
}

// 这些量一变就调用 update；返回的函数断开它们。
function follow(model, names, update) {
  const events = names.map((name) => `change:${name}`);
  for (const event of events) model.on(event, update);
  update();
  return () => events.forEach((event) => model.off(event, update));
}

// ---- 图：内联的 SVG，按容器的宽度排版，宽度变了就重画，所以手机上字也不缩小

function addChart(parent, { label, height, paint }) {
  const box = add(parent, "div", { className: "chart" });
  const svg = addSvg(box, "svg", { role: "img", "aria-label": label, width: "100%", height });
  function draw() {
    const width = box.clientWidth;
    if (!width) return; // 还没有显示出来
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    paint(svg, width, height);
  }
  new ResizeObserver(draw).observe(box);
  return draw;
}

// lo 到 hi 之间好读的刻度，大约 count 个。
function ticks(lo, hi, count) {
  const rough = (hi - lo) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough * 0.999);
  const places = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) places.push(i * step);
  return places.map((x) => Number(x.toPrecision(10)));
}

// 坐标轴。x、y 是 [最小, 最大]；返回把数变成像素的函数 X、Y。
function addAxes(svg, width, height, options) {
  const { x, y, xLabel, yLabel, left = 46, right = 12, top = 26, bottom = 38 } = options;
  const X = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (width - left - right);
  const Y = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0])) * (height - top - bottom);
  const xTicks = options.xTicks ?? ticks(...x, Math.max(3, Math.round(width / 90)));
  const yTicks = options.yTicks ?? ticks(...y, Math.max(3, Math.round(height / 50)));
  for (const v of yTicks) {
    addSvg(svg, "line", { class: v === 0 ? "zero" : "grid", x1: left, x2: width - right, y1: Y(v), y2: Y(v) });
    addSvg(svg, "text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, short(v));
  }
  for (const v of xTicks) {
    addSvg(svg, "text", { x: X(v), y: height - bottom + 16, "text-anchor": "middle" },
      options.xFormat ? options.xFormat(v) : short(v));
  }
  addSvg(svg, "line", { class: "axis", x1: left, x2: left, y1: top, y2: height - bottom });
  addSvg(svg, "line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom });
  addSvg(svg, "text", { x: 0, y: 14 }, yLabel);
  addSvg(svg, "text", { x: width - right, y: height - 4, "text-anchor": "end" }, xLabel);
  return { X, Y };
}

// 折线；y 不是数的地方断开。只有一个点的，画成圆点，不然看不见。
function addLine(svg, { X, Y }, points, attributes) {
  const known = points.filter(([, y]) => Number.isFinite(y));
  const [x, y] = known[0] ?? [];
  if (known.length === 1) addSvg(svg, "circle", { cx: X(x), cy: Y(y), r: 1.5 + attributes["stroke-width"] / 2, fill: attributes.stroke });
  let d = "";
  let pen = "M";
  for (const [x, y] of points) {
    if (Number.isFinite(y)) d += `${pen}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`;
    pen = Number.isFinite(y) ? "L" : "M";
  }
  return addSvg(svg, "path", { d, fill: "none", "stroke-linejoin": "round", ...attributes });
}

// 图例。items: [[折线或色块的属性, 文字], …]；属性里有 fill 的画成色块。
function addLegend(parent, items) {
  const list = add(parent, "ul", { className: "legend" });
  for (const [attributes, text] of items) {
    const item = add(list, "li");
    const svg = addSvg(item, "svg", { width: 26, height: 12, "aria-hidden": "true" });
    if (attributes.fill) addSvg(svg, "rect", { x: 3, y: 0, width: 20, height: 12, ...attributes });
    else addSvg(svg, "line", { x1: 0, x2: 26, y1: 6, y2: 6, ...attributes });
    add(item, "span", { textContent: text });
  }
}

// 表格：一行表头，返回填写各行的函数。rows 里每一格是文字。
function addTable(parent, label, head) {
  const box = add(parent, "div", { className: "table" }, { role: "region", "aria-label": label, tabindex: "0" });
  const table = add(box, "table");
  const top = add(add(table, "thead"), "tr");
  for (const text of head) add(top, "th", { textContent: text }, { scope: "col" });
  const body = add(table, "tbody");
  return (rows, current = -1) => {
    body.replaceChildren();
    rows.forEach((cells, i) => {
      const row = add(body, "tr", { className: i === current ? "current" : "" });
      cells.forEach((text, j) => {
        add(row, j ? "td" : "th", { textContent: text }, j ? {} : { scope: "row" });
      });
    });
  };
}
