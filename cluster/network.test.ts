import { expect, test } from "vitest";
import { freeSlot, network } from "./network.ts";

test("a cluster's addresses do not overlap", () => {
  expect(network(130)).toEqual({
    slot: 130,
    link: "deeptrain130",
    hostAddress: "10.130.255.1",
    nodeAddress: "10.130.255.2",
    podCidr: "10.130.0.0/20",
    gateway: "10.130.0.1",
    serviceCidr: "10.130.128.0/18",
    egress: {
      cidr: "10.130.254.0/24",
      address: "10.130.254.100/24",
      gateway: "10.130.254.2",
      dns: "10.130.254.3",
    },
  });
});

test.each([
  { name: "nothing is in use", lines: [], want: 128 },
  {
    name: "the first is another cluster's",
    lines: ["10.128.0.0/20 via 10.128.255.2 dev deeptrain128"],
    want: 129,
  },
  {
    name: "an address of this machine lies in one",
    lines: ["2: eth0 inet 10.128.3.4/24", "default via 10.129.0.1"],
    want: 130,
  },
  { name: "a wide route covers all but is not in any", lines: ["10.0.0.0/8 dev tun0"], want: 128 },
])("the free slot when $name", ({ lines, want }) => {
  expect(freeSlot(lines)).toBe(want);
});

test("no slot is free when all are taken", () => {
  const lines = Array.from({ length: 123 }, (_, index) => `10.${128 + index}.0.0/16 dev eth1`);
  expect(() => freeSlot(lines)).toThrow("no free network");
});

test("an interface name fits into the kernel's 15 characters", () => {
  expect(network(250).link.length).toBeLessThanOrEqual(15);
});
