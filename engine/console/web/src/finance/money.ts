// Money as whole minor units, exact: never a float.

/** "-1234" fen is "-1,234.00"-like text: groups of three, a real minus, two places. */
export function grouped(minor: bigint): string {
  const whole = minor < 0n ? -minor : minor;
  const major = (whole / 100n).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  return `${minor < 0n ? "−" : ""}${major}.${(whole % 100n).toString().padStart(2, "0")}`;
}

/** What an element's data-minor says. */
export function minorOf(element: HTMLElement): bigint {
  return BigInt(element.dataset["minor"] ?? "0");
}
