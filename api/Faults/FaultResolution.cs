namespace Api.Faults;

/// <summary>Which stored samples answer a question about a time: every sample, or the last of each step.</summary>
public sealed record FaultResolution(bool FromMinutes, int StepSeconds)
{
    public const int MaxStepSeconds = 86_400;
    /// <summary>The most of one answer, so that a day by minutes is one.</summary>
    public const int WantedPoints = 1500;
    private static readonly int[] Steps = [1, 60, 300, 900, 3600, 21_600, MaxStepSeconds];

    /// <summary>Pure. The step asked for, or the finest with which the time has no more than <see cref="WantedPoints"/> points. Samples are there as long as their
    /// retention; what is older has minutes only, and a step of minutes is a whole number of them, not below what was asked for.</summary>
    public static FaultResolution Choose(DateTimeOffset from, DateTimeOffset to, int? stepSeconds, DateTimeOffset oldestSample)
    {
        var step = stepSeconds ?? Steps.First(s => s == MaxStepSeconds || (to - from).TotalSeconds / s <= WantedPoints);
        return step >= 60 || from < oldestSample ? new FaultResolution(true, Math.Max(1, (step + 59) / 60) * 60) : new FaultResolution(false, step);
    }
}
