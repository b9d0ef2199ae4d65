// For scripts of Node's clients: what is tried, a line of JSON for each.
export const URL_ = process.env.ENDPOINT_URL;
export const V1 = `${URL_}/v1`;
export const KEY = process.env.ENDPOINT_KEY;
export const ASKED = "What is the capital of Peru?";
export const TEXT = "Lima is the capital of Peru.";

export async function tries(what, run) {
  let why = "";
  try {
    await run();
  } catch (error) {
    why = String(error?.stack ?? error).slice(0, 1500);
  }
  console.log(JSON.stringify({ tried: what, why }));
}

export function same(given, wanted) {
  const [left, right] = [JSON.stringify(given), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`${left} is not ${right}`);
}
