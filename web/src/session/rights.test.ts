import { expect, test } from "vitest";
import { rightsOf } from "./rights";

test.each([
  ["Viewer", false, [false, false, false, false]],
  ["Operator", false, [true, false, false, false]],
  ["Admin", false, [true, true, false, false]],
  ["Viewer", true, [false, false, true, false]],
  ["Operator", true, [true, false, true, false]],
  ["Admin", true, [true, true, true, true]],
] as const)("a %s (runs the service: %s) is offered what the API lets it do", (role, operates, [operate, administer, seeService, changeService]) => {
  expect(rightsOf({ role, operates })).toEqual({ operate, administer, seeService, changeService });
});

test("nobody is offered nothing", () => {
  expect(rightsOf(null)).toEqual({ operate: false, administer: false, seeService: false, changeService: false });
});
