// A run at work: its news come as server-sent events. The bar moves with each; the part that says more is fetched
// again now and then; a change of state is a page of its own.

import htmx from "htmx.org";

interface Headway {
  state: string;
  is_paused: boolean;
  seats_done: number;
}

const EVERY_MS = 1000;
/** The larger the map of shards, the more seldom it is drawn anew. */
const PER_SHARD_MS = 2;

/** What the rest of the page tells of: that of the part goes on by itself. */
const { state, paused, events, part } = document.querySelector<HTMLElement>("#live")?.dataset ?? {};

let isDue = false;
let isLeft = false;

function redraw(address: string): void {
  if (isDue) return;
  isDue = true;
  const shards = document.querySelectorAll("#live .heatmap rect").length;
  setTimeout(() => {
    isDue = false;
    void htmx.ajax("get", address, { target: "#live", swap: "outerHTML" });
  }, EVERY_MS + PER_SHARD_MS * shards);
}

/** Load the page anew, but not under the hands of somebody who fills in a form on it. */
function renew(): void {
  if (isLeft) return;
  if (document.querySelector(":popover-open")) {
    setTimeout(renew, EVERY_MS);
    return;
  }
  isLeft = true;
  location.reload();
}

function told(event: MessageEvent<string>): void {
  const news = JSON.parse(event.data) as Headway;
  if (news.state !== state || String(news.is_paused) !== paused) {
    renew();
    return;
  }
  const bar = document.querySelector<HTMLProgressElement>("#live [data-part=bar]");
  if (bar) bar.value = news.seats_done;
  if (event.type === "progress" && part) redraw(part);
}

function follow(address: string): void {
  const source = new EventSource(address);
  source.addEventListener("state", told);
  source.addEventListener("progress", told);
  source.addEventListener("end", (event) => {
    source.close();
    if ((JSON.parse(event.data as string) as { reason: string }).reason === "rests") renew();
    else setTimeout(follow, EVERY_MS, address);
  });
}

if (events) follow(events);
