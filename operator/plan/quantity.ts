// Kubernetes quantities, as numbers.

const factors: Readonly<Record<string, number>> = {
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** The value of a quantity such as `1500m` or `4Gi`; undefined where it is none. */
export const quantityValue = (quantity: string): number | undefined => {
  const match = /^([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)$/.exec(quantity);
  const factor = factors[match?.[2] ?? "none"];
  return match === null || factor === undefined ? undefined : Number(match[1]) * factor;
};

/** A quantity `times` over, such as `8Gi` for `4Gi` twice. */
export const quantityTimes = (quantity: string, times: number): string =>
  quantity.replace(/^[0-9.]+/, (number) => String(Number(number) * times));

/** Bytes for people: `1.5 GiB`. */
export const bytesText = (bytes: number): string => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toFixed(value < 10 ? 1 : 0))} ${units[unit]}`;
};
