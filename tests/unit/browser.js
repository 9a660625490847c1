// Measures the page that it was added to, and tells the page around it.
addEventListener("load", () => setTimeout(() => {
  const parse = (text) => {
    const found = (text.match(/[\d.]+/g) || []).map(Number);
    return found.length < 3 ? null : [found[0], found[1], found[2], found.length > 3 ? found[3] : 1];
  };
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => {
      const x = v / 255;
      return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c && c[3] > 0.5) return c;
    }
    return [255, 255, 255, 1];
  };
  // what `filter: invert(1) hue-rotate(180deg)` makes of a colour
  const turned = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => 255 - v);
    const rows = [[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]];
    return rows.map((m) => Math.min(255, Math.max(0, m[0] * r + m[1] * g + m[2] * b)));
  };
  for (const one of document.querySelectorAll("details")) one.open = true;
  const faint = [], small = [], hidden = [], unseen = [], broken = [], lost = [], cut = [];
  let letters = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, text = node.textContent.trim();
    if (!text || element.closest("script, style")) continue;
    const told = getComputedStyle(element), drawing = element.closest("svg");
    if (!element.getClientRects().length) continue;
    letters += text.length;
    let color = parse(drawing ? told.fill : told.color), size = parseFloat(told.fontSize);
    if (drawing) {
      const m = element.getScreenCTM();
      size *= Math.hypot(m.a, m.b);
      const here = element.getBoundingClientRect(), all = drawing.getBoundingClientRect();
      const over = Math.max(all.left - here.left, here.right - all.right, all.top - here.top, here.bottom - all.bottom);
      if (over > 2) cut.push([text.slice(0, 40), Math.round(over)]);
    }
    if (size < 9.99) small.push([text.slice(0, 40), size]);
    if (!color) continue;
    if (drawing && (luminance(color) === 0 || luminance(color) === 1)) continue;  // on a coloured cell
    if (drawing && getComputedStyle(drawing).filter !== "none") color = turned(color);
    const ratio = contrast(color, behind(drawing ? drawing.parentElement : element));
    if (ratio < 4.5) faint.push([text.slice(0, 40), Math.round(100 * ratio) / 100]);
  }
  for (const one of document.querySelectorAll(".scroll")) {
    if (one.scrollWidth <= one.clientWidth + 1) continue;
    const caption = one.nextElementSibling;
    const said = !one.classList.contains("drawn") || !caption ||
      getComputedStyle(caption, "::before").content.includes("sideways");
    const shadowed = getComputedStyle(one).backgroundImage.includes("linear-gradient");
    if (one.tabIndex !== 0 || !said || !shadowed) hidden.push(one.getAttribute("aria-label"));
  }
  for (const one of document.querySelectorAll("code, td, th")) {  // options, numbers with their exponents
    const walk = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      for (const found of node.textContent.matchAll(/(?<![\w-])--[a-z]+|\d(?:\.\d+)?e-\d+/g)) {
        const range = document.createRange();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        if (new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1) broken.push(found[0]);
      }
    }
  }
  for (const one of document.querySelectorAll(".wide, .first")) {  // the first column is seen at the end of the scroll
    const box = one.closest(".scroll");
    box.scrollLeft = box.scrollWidth;
    const cell = one.querySelector("td").getBoundingClientRect();
    if (cell.left < box.getBoundingClientRect().left - 1) lost.push(one.textContent.trim().slice(0, 40));
    box.scrollLeft = 0;
  }
  for (const one of document.querySelectorAll("svg, img")) {
    if (!(one.getAttribute("aria-label") || one.getAttribute("alt"))) unseen.push(one.outerHTML.slice(0, 80));
  }
  parent.postMessage({
    frame: window.name, width: innerWidth, needed: document.documentElement.scrollWidth, letters, faint, small, hidden,
    unseen, broken, lost, cut, figures: document.querySelectorAll("figure svg").length,
    dark: matchMedia("(prefers-color-scheme: dark)").matches, page: behind(document.body).slice(0, 3),
    headings: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((h) => Number(h.tagName[1])),
    asked: window.asked,
  }, "*");
}, 0));
