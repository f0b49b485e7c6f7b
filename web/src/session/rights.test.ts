import { expect, test } from "vitest";
import { rightsOf } from "./rights";

test.each([
  ["Viewer", false, [false, false, false]],
  ["Operator", false, [true, false, false]],
  ["Admin", false, [true, false, false]],
  ["Viewer", true, [false, true, false]],
  ["Operator", true, [true, true, false]],
  ["Admin", true, [true, true, true]],
] as const)("a %s (runs the service: %s) is offered what the API lets it do", (role, operates, [operate, seeService, changeService]) => {
  expect(rightsOf({ role, operates })).toEqual({ operate, seeService, changeService });
});

test("nobody is offered nothing", () => {
  expect(rightsOf(null)).toEqual({ operate: false, seeService: false, changeService: false });
});
