// One member's proof, computed from what the leaf holds up to the seal, as engine/ledger/seal.py makes it.

type Bytes = Uint8Array<ArrayBuffer>;

/** The API's ProofView. */
export interface Proof {
  plan: string;
  run_id: number;
  seat: number;
  amount: string;
  tag: string;
  leaf: { first_seat: number; amounts: string[]; tags: string[] };
  steps: { sibling: string; is_left: boolean }[];
  previous_root: string | null;
  root: string;
}

const LEAF = 0;
const NODE = 1;
const SEAL = 2;

const HEX = /^([0-9a-f]{2})*$/;
const MONEY = /^(-?)([0-9]+)\.([0-9]{2})$/;

/** Minor units of decimal text: 3n of "0.03". */
export function minorOf(text: string): bigint {
  const [, sign, whole, cents] = MONEY.exec(text) ?? [];
  if (whole === undefined || cents === undefined) throw new TypeError("no amount");
  const minor = BigInt(whole + cents);
  return sign ? -minor : minor;
}

function bytesOf(hex: string): Bytes {
  if (!HEX.test(hex)) throw new TypeError("not hexadecimal");
  return Uint8Array.from({ length: hex.length / 2 }, (_, at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}

export function hexOf(bytes: Bytes): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function hash(kind: number, ...parts: Bytes[]): Promise<Bytes> {
  const all = new Uint8Array(1 + parts.reduce((sum, part) => sum + part.length, 0));
  all[0] = kind;
  let at = 1;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

/** Whether the leaf holds the member's amount and tag at the member's place. */
export function isInPlace(proof: Proof): boolean {
  const at = proof.seat - proof.leaf.first_seat;
  const { amounts, tags } = proof.leaf;
  return amounts.length === tags.length && amounts[at] === proof.amount && tags[at] === proof.tag;
}

/** Of the amounts as little-endian int64, then the tags. */
export async function leafOf(proof: Proof): Promise<Bytes> {
  const { amounts, tags } = proof.leaf;
  const money = new DataView(new ArrayBuffer(8 * amounts.length));
  amounts.forEach((text, at) => money.setBigInt64(8 * at, minorOf(text), true));
  return hash(LEAF, new Uint8Array(money.buffer), bytesOf(tags.join("")));
}

/** What the leaf leads to, step by step. */
export async function climbed(leaf: Bytes, steps: Proof["steps"]): Promise<Bytes> {
  let here = leaf;
  for (const step of steps) {
    const sibling = bytesOf(step.sibling);
    here = step.is_left ? await hash(NODE, sibling, here) : await hash(NODE, here, sibling);
  }
  return here;
}

/** The seal over the top, which covers the seal before it. */
export async function sealOver(top: Bytes, previous: string | null): Promise<Bytes> {
  return hash(SEAL, previous === null ? new Uint8Array(32) : bytesOf(previous), top);
}
