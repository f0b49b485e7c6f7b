using System.Globalization;

namespace Benchmarks;

/// <summary>The lines of one benchmark: what was measured, beside what, and the ratio of the two.</summary>
internal sealed class Report(string name)
{
    private readonly List<string> _notes = [];
    private readonly List<string[]> _rows = [["measured", "value", "beside", "value", "ratio", "aim"]];

    public void Note(string text) => _notes.Add(text);

    public void Add(string measured, double value, string unit, string beside, double baseline, string aim = "") =>
        _rows.Add([measured, Number(value, unit), beside, Number(baseline, unit), (value / baseline).ToString("0.00", CultureInfo.InvariantCulture), aim]);

    public void Say(string progress) => Console.WriteLine($"{name}: {progress}");

    public void Print()
    {
        Console.WriteLine();
        Console.WriteLine($"{name}: {string.Join(' ', _notes)}");
        var widths = Enumerable.Range(0, _rows[0].Length).Select(column => _rows.Max(row => row[column].Length)).ToArray();
        foreach (var row in _rows)
            Console.WriteLine("  " + string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        Console.WriteLine();
    }

    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>The least of the values that so many of all are not above.</summary>
    public static double Quantile(IEnumerable<double> values, double fraction)
    {
        var sorted = values.Order().ToArray();
        return sorted[Math.Max(0, (int)Math.Ceiling(fraction * sorted.Length) - 1)];
    }

    /// <summary>The machine's, for whoever reads the figures: others may have been at work.</summary>
    public static string LoadAverage => $"load average {string.Join(' ', File.ReadAllText("/proc/loadavg").Split(' ').Take(3))}";

    private static string Number(double value, string unit) => value.ToString(value < 100 ? "0.0" : "0", CultureInfo.InvariantCulture) + " " + unit;
}
