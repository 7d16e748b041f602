// 回放的播放器。不用任何库，不发任何请求；一页上可以有许多个，互不相干。
// film: {frames, height, background: [形状], parts: [[形状]], panels: [{label, alt, ending, returns, poses}]}
// 形状: [种类, 颜色, 不透明度, 大小, 文字, [x, y, …]]；poses 每个零件一列 [x, y, 角度, …]，x 为 null 时不画。

const STEPS_PER_SECOND = 30;
const SPEEDS = [0.25, 0.5, 1, 2, 4];

function startPlayer(root, film) {
  root.dataset.ready = "true";
  const last = film.frames - 1;
  let frame = 0;
  let playing = false;
  let exact = 0; // 播放时带小数的帧
  let before = null; // 上一次刷新的时刻

  // ---- 元素

  function add(parent, tag, properties = {}, attributes = {}) {
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return parent.appendChild(element);
  }

  const row = add(root, "div", { className: "panels", onclick: () => toggle() });
  const views = film.panels.map((panel) => {
    const box = add(row, "div", { className: "panel" });
    const canvas = add(box, "canvas", {}, { role: "img", "aria-label": panel.alt });
    canvas.style.aspectRatio = `1 / ${film.height}`;
    add(box, "div", { className: "label", textContent: panel.label });
    return { panel, canvas, caption: add(box, "div", { className: "caption" }) };
  });

  const controls = add(root, "div", { className: "controls" });
  const button = (text, action) =>
    add(controls, "button", { type: "button", textContent: text, onclick: action },
      { "aria-label": text });
  const playButton = button("播放", toggle);
  button("上一步", () => step(-1));
  button("下一步", () => step(1));
  const scrubber = add(controls, "input",
    { type: "range", min: 0, max: last, step: 1, value: 0, oninput: scrub },
    { "aria-label": "第几步" });
  const speed = add(controls, "select", {}, { "aria-label": "速度" });
  for (const x of SPEEDS) {
    add(speed, "option", { value: x, textContent: `${x} 倍速`, selected: x === 1 });
  }

  // ---- 画

  function drawShape(pen, [kind, color, alpha, size, text, points], ink) {
    pen.globalAlpha = alpha;
    pen.fillStyle = pen.strokeStyle = color === "ink" ? ink : color;
    if (kind === "text") {
      pen.save();
      pen.translate(points[0], points[1]);
      pen.scale(0.01, -0.01); // 文字不能倒着写；字号太小浏览器会改，所以放大一百倍来写
      pen.font = `${100 * size}px sans-serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText(text, 0, 0);
      pen.restore();
      return;
    }
    pen.beginPath();
    if (kind === "circle") pen.arc(points[0], points[1], size, 0, 2 * Math.PI);
    else for (let i = 0; i < points.length; i += 2) pen.lineTo(points[i], points[i + 1]);
    if (kind === "line") {
      pen.lineWidth = size;
      pen.stroke();
    } else pen.fill();
  }

  function drawPanel({ panel, canvas, caption }, ink) {
    const t = Math.min(frame, panel.returns.length - 1);
    const value = String(panel.returns[t]).replace("-", "−");
    const ended = t === panel.returns.length - 1 ? `，${panel.ending}` : "";
    caption.textContent = `第 ${t} 步，回报 ${value}${ended}`;

    const width = Math.round(canvas.clientWidth * window.devicePixelRatio);
    const height = Math.round(width * film.height);
    if (!width) return; // 还没有显示出来
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(width, 0, 0, -width, 0, height); // 画面宽 1，y 向上
    pen.clearRect(0, 0, 1, film.height);
    pen.lineCap = pen.lineJoin = "round";
    for (const shape of film.background) drawShape(pen, shape, ink);
    film.parts.forEach((shapes, i) => {
      const column = panel.poses[i];
      const at = column.length > 3 ? 3 * t : 0;
      if (column[at] === null) return;
      pen.save();
      pen.translate(column[at], column[at + 1]);
      pen.rotate(column[at + 2]);
      for (const shape of shapes) drawShape(pen, shape, ink);
      pen.restore();
    });
  }

  function draw() {
    const ink = getComputedStyle(root).color;
    const light = ink.match(/^rgba?\((\d+), (\d+), (\d+)/)?.slice(1).every((x) => x > 127);
    root.style.colorScheme = light ? "dark" : "light"; // 文字是浅的，页面就是暗的：滑条跟着变
    for (const view of views) drawPanel(view, ink);
  }

  // ---- 放

  function show(t) {
    frame = exact = Math.max(0, Math.min(last, t));
    showFrame();
  }

  function showFrame() {
    scrubber.value = frame;
    scrubber.setAttribute("aria-valuetext", `第 ${frame} 步`);
    root.dataset.frame = frame;
    draw();
  }

  function step(by) {
    pause();
    show(frame + by);
  }

  function scrub() {
    pause();
    show(+scrubber.value);
  }

  function setPlaying(now) {
    playing = now;
    playButton.textContent = now ? "暂停" : "播放";
    playButton.setAttribute("aria-label", playButton.textContent);
  }

  function pause() {
    setPlaying(false);
  }

  function play() {
    if (playing) return;
    if (frame === last) show(0);
    exact = frame;
    before = null;
    setPlaying(true);
    requestAnimationFrame(tick);
  }

  function toggle() {
    if (playing) pause();
    else play();
  }

  function tick(now) {
    if (!playing) return;
    if (!root.isConnected) return pause(); // 这个输出已经被删掉
    if (before !== null) exact += ((now - before) / 1000) * STEPS_PER_SECOND * speed.value;
    before = now;
    const t = Math.min(last, Math.floor(exact));
    if (t !== frame) {
      frame = t;
      showFrame();
    }
    if (frame === last) pause();
    else requestAnimationFrame(tick);
  }

  // ---- 键盘：只在这个播放器有焦点时起作用；按钮、滑条、选单自己会处理的键让给它们

  const keys = {
    " ": toggle,
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    Home: () => step(-last),
    End: () => step(last),
  };
  const native = {
    BUTTON: [" "],
    SELECT: [" ", "ArrowLeft", "ArrowRight", "Home", "End"],
    INPUT: ["ArrowLeft", "ArrowRight", "Home", "End"],
  };
  root.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // 不让页面翻页，也不让 JupyterLab 当成快捷键
    if (native[event.target.tagName]?.includes(event.key)) return;
    event.preventDefault();
    action();
  });

  // ---- 页面换了颜色（style 里给 color 加了过渡），或画面变了大小，就重画

  root.addEventListener("transitionend", draw);
  const resized = new ResizeObserver(draw);
  for (const { canvas } of views) resized.observe(canvas);
  show(0);
}
