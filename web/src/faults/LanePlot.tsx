import { useEffect, useRef } from "react";
import uPlot from "uplot";
import type { FaultSample } from "../contracts";
import { colorOf, useTheme } from "../page/theme";
import type { Lane } from "./lanes";
import { anyLowerBound, chartData } from "./rates";

interface LanePlotProps { lane: Lane; samples: readonly FaultSample[]; windowSeconds: number; gap: number; axis: boolean }

const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumSignificantDigits: 3 });
const sync = uPlot.sync("faults");

export function LanePlot({ lane, samples, windowSeconds, gap, axis }: LanePlotProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const height = axis ? 142 : 118;
  const last = samples.at(-1);
  const isLowerBound = last !== undefined && anyLowerBound(samples, lane.sources.map((one) => one.source), Date.parse(last.at) - windowSeconds * 1000);
  const hasDays = windowSeconds > 86_400;

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new uPlot(optionsFor(lane, element.clientWidth, height, axis, isLowerBound, hasDays), [[], ...lane.sources.map(() => [])], element);
    plot.current = made;
    const observer = new ResizeObserver(() => element.clientWidth > 0 && made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [lane, height, axis, isLowerBound, hasDays, theme]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    const { seconds, rates } = chartData(samples, lane.sources.map((one) => one.source), gap);
    const end = seconds.at(-1) ?? Date.now() / 1000;
    made.batch(() => {
      made.setData([seconds, ...rates], false);
      made.setScale("x", { min: end - windowSeconds, max: end });
      made.setScale("y", yRange(seconds, rates, end - windowSeconds));
    });
  }, [samples, lane, windowSeconds, gap, isLowerBound, hasDays, theme, height]);

  return <div ref={host} className="plot" aria-hidden="true" style={{ height: height + 12 }} />;
}

function yRange(seconds: readonly number[], rates: readonly (number | null)[][], from: number): { min: number; max: number } {
  let most = 0;
  for (const row of rates) row.forEach((rate, index) => {
    if (rate !== null && rate > most && (seconds[index] ?? 0) >= from) most = rate;
  });
  return { min: 0, max: most === 0 ? 1 : most * 1.12 };
}

/** A lower bound is drawn dashed: more may have happened. */
function optionsFor(lane: Lane, width: number, height: number, axis: boolean, isLowerBound: boolean, hasDays: boolean): uPlot.Options {
  const soft = colorOf("--ink-soft");
  const rule = colorOf("--rule");
  const font = "12px 'Archivo Variable', sans-serif";
  return {
    width: Math.max(120, width),
    height,
    padding: [8, 12, axis ? 0 : 8, 0],
    legend: { show: false },
    cursor: { sync: { key: sync.key }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: true, auto: false }, y: { auto: false } },
    axes: [
      { show: axis, stroke: soft, font, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1, size: 4 }, size: 28, values: (_, splits) => splits.map((second) => hasDays ? new Date(second * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" }) : new Date(second * 1000).toLocaleTimeString("en-GB")), space: 90 },
      { stroke: soft, font, grid: { stroke: rule, width: 1 }, ticks: { show: false }, size: 54, space: 30, values: (_, splits) => splits.map((value) => compact.format(value)) },
    ],
    series: [
      {},
      ...lane.sources.map((one) => ({
        label: one.label, stroke: colorOf(one.token), width: 2, spanGaps: false, ...(isLowerBound ? { dash: [5, 3] } : {}), points: { show: false },
        ...(uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: -1 }) } : {}),
      })),
    ],
  };
}
