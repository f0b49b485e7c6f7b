// Sums up the runners' result files: node results.mjs DIR SUITE...
// DIR holds SUITE.json (vitest's JSON or CTRF, which xunit writes) and SUITE.status, the runner's exit code.
// Exits 1 if a test failed, a runner failed, or a suite ran no test.
import { readFileSync } from "node:fs";

const [directory, ...suites] = process.argv.slice(2);

function fromVitest(report) {
  const tests = report.testResults.flatMap(file => file.assertionResults.map(test => ({
    name: test.fullName,
    state: test.status === "passed" ? "passed" : test.status === "failed" ? "failed" : "skipped",
    reason: test.meta?.reason ?? test.status,
  })));
  // A file that could not be loaded has no tests to fail.
  for (const file of report.testResults.filter(file => file.status === "failed" && !file.assertionResults.some(test => test.status === "failed")))
    tests.push({ name: file.name, state: "failed", reason: file.message });
  return tests;
}

function fromCtrf(report) {
  return report.results.tests.map(test => ({
    name: test.name.replaceAll('\\"', '"'),
    state: test.status === "passed" ? "passed" : test.status === "failed" ? "failed" : "skipped",
    reason: test.message ?? test.extra?.reason ?? test.rawStatus ?? test.status,
  }));
}

function read(suite) {
  const status = Number(readFileSync(`${directory}/${suite}.status`, "utf8"));
  let tests = [];
  let problem = null;
  try {
    const report = JSON.parse(readFileSync(`${directory}/${suite}.json`, "utf8"));
    tests = report.testResults ? fromVitest(report) : fromCtrf(report);
  } catch (error) {
    problem = `no readable results (${error.message}); the runner ended with ${status}`;
  }
  if (!problem && status !== 0 && !tests.some(test => test.state === "failed"))
    problem = status === 124 || status === 137 ? "the runner was stopped: it took too long" : `the runner ended with ${status}`;
  if (problem) tests.push({ name: suite, state: "failed", reason: problem });
  const count = state => tests.filter(test => test.state === state).length;
  return { suite, tests, passed: count("passed"), failed: count("failed"), skipped: count("skipped") };
}

const rows = suites.map(read);
const firstLine = text => String(text).split("\n")[0].slice(0, 200);
console.log(`\n${"suite".padEnd(14)}${"passed".padStart(8)}${"failed".padStart(8)}${"skipped".padStart(9)}`);
for (const row of rows) {
  console.log(`${row.suite.padEnd(14)}${String(row.passed).padStart(8)}${String(row.failed).padStart(8)}${String(row.skipped).padStart(9)}`);
  for (const test of row.tests.filter(test => test.state !== "passed"))
    console.log(`  ${test.state}: ${test.name}: ${firstLine(test.reason)}`);
}
const idle = rows.filter(row => row.passed + row.failed === 0);
for (const row of idle) console.log(`suite ${row.suite} ran no test`);
const sum = state => rows.reduce((total, row) => total + row[state], 0);
console.log(`\n${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
process.exit(sum("failed") > 0 || idle.length > 0 || rows.length === 0 ? 1 : 0);
