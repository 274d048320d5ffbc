// On a small screen a row of tabs scrolls: the one that is open is in sight.

for (const current of document.querySelectorAll<HTMLElement>(".tabs [aria-current]")) {
  const row = current.closest("ul");
  if (row) row.scrollLeft = current.offsetLeft - (row.clientWidth - current.offsetWidth) / 2;
}
