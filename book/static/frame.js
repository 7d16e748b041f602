// 页框上的几样动静：下载菜单、回到顶部、本页目录里亮出读到的一节。
// 主题用整个 Bootstrap（24 kB）做这些；这本书只用得到这几样，做书时就不带它（extension/slim.py）。
(() => {
  "use strict";

  // ---- 下拉菜单

  const MENU_BUTTON = '[data-bs-toggle="dropdown"]';
  const menuOf = (button) => button.parentElement.querySelector(".dropdown-menu");

  function setOpen(button, open) {
    button.setAttribute("aria-expanded", open);
    for (const part of [button, menuOf(button)]) part.classList.toggle("show", open);
  }

  function closeAll(except) {
    for (const button of document.querySelectorAll(`${MENU_BUTTON}[aria-expanded="true"]`))
      if (button !== except) setOpen(button, false);
  }

  function onClick(event) {
    const button = event.target.closest(MENU_BUTTON);
    closeAll(button);
    if (button) setOpen(button, button.getAttribute("aria-expanded") !== "true");
  }

  // 方向键在菜单里上下走，Esc 收起，焦点回到按钮。
  function onKey(event) {
    const box = event.target.closest?.(".dropdown");
    const button = box?.querySelector(MENU_BUTTON);
    if (!button) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" && button.getAttribute("aria-expanded") === "true") {
      setOpen(button, false);
      button.focus();
    } else if (step) {
      event.preventDefault();
      setOpen(button, true);
      const items = [...menuOf(button).querySelectorAll(".dropdown-item")];
      const place = items.indexOf(document.activeElement);
      items[place < 0 ? (step > 0 ? 0 : items.length - 1) : (place + step + items.length) % items.length]?.focus();
    }
  }

  // ---- 往回翻时出现的“回到顶部”

  function addBackToTop() {
    const button = document.getElementById("pst-back-to-top");
    if (!button) return;
    let last = scrollY;
    button.addEventListener("click", () => scrollTo(0, 0));
    addEventListener("scroll", () => {
      if (scrollY === last) return;
      button.style.display = scrollY < last && scrollY > 100 ? "block" : "none";
      last = scrollY;
    }, { passive: true });
  }

  // ---- 本页目录

  function followReading() {
    const links = [...document.querySelectorAll(".toc-entry > a[href^='#']")];
    const sections = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
    let waiting = false;
    let shown;
    function update() {
      waiting = false;
      const line = innerHeight / 3;
      const tops = sections.map((section) => section?.getBoundingClientRect().top ?? Infinity);
      const here = links[tops.findLastIndex((top) => top <= line)];
      if (here === shown) return;
      shown = here;
      for (const link of links) {
        const active = link === here || Boolean(here && link.closest("li")?.contains(here));
        link.classList.toggle("active", active);
      }
    }
    function later() {
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    }
    if (links.length === 0) return;
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    later();
  }

  // ---- 装不下、要左右滑动的表和图：让键盘也到得了

  function reachScrollers() {
    for (const box of document.querySelectorAll(".bd-article :is(table, .ppo-figure)"))
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
  }

  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  addEventListener("load", reachScrollers);
  addEventListener("resize", reachScrollers);
  function start() {
    addBackToTop();
    followReading();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
