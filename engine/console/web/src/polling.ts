// Parts that htmx asks for again and again: whoever is in the midst of something in one is not disturbed.

const CONTROLS = "a[href], button, input, select, textarea, summary";

interface Swap {
  target: HTMLElement;
  shouldSwap: boolean;
}

interface Answer {
  elt: HTMLElement;
  xhr: XMLHttpRequest;
}

const isPolled = (part: HTMLElement): boolean => part.getAttribute("hx-trigger")?.startsWith("every") ?? false;

/** Something is typed, picked or opened in it. */
function isInUse(part: HTMLElement): boolean {
  const typedIn = document.activeElement?.closest("input, select, textarea");
  return part.querySelector(":popover-open, details[open], :checked:not(option)") !== null || part.contains(typedIn ?? null);
}

// Whose session has ended is shown the way in, but not while they are in the midst of something on the page.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const { elt, xhr } = (event as CustomEvent<Answer>).detail;
  if (isPolled(elt) && xhr.getResponseHeader("HX-Redirect") !== null && isInUse(document.body)) event.preventDefault();
});

let hadFocus = -1;

document.addEventListener("htmx:beforeSwap", (event) => {
  const swap = (event as CustomEvent<Swap>).detail;
  // A part has come: why it could not is told no more.
  if (swap.target.id !== "" && swap.target.id !== "stale") document.getElementById("stale")?.replaceChildren();
  if (!isPolled(swap.target)) {
    return;
  }
  if (isInUse(swap.target)) {
    swap.shouldSwap = false;
  }
  hadFocus = [...swap.target.querySelectorAll(CONTROLS)].indexOf(document.activeElement as Element);
});

// Who is at a link or button with the keyboard stays there.
document.addEventListener("htmx:afterSettle", (event) => {
  const part = event.target as HTMLElement;
  if (hadFocus >= 0 && isPolled(part)) {
    part.querySelectorAll<HTMLElement>(CONTROLS)[hadFocus]?.focus({ preventScroll: true });
    hadFocus = -1;
  }
});
