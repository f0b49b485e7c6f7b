namespace Api.Faults;

/// <summary>How long faults are kept, in whole days (UTC) before today: settings <c>Faults__SampleDays</c> and <c>Faults__MinuteDays</c>.</summary>
public sealed record FaultRetention(int SampleDays, int MinuteDays)
{
    public static FaultRetention Read(IConfiguration configuration)
    {
        var retention = new FaultRetention(configuration.GetValue("Faults:SampleDays", 2), configuration.GetValue("Faults:MinuteDays", 30));
        if (retention is not { SampleDays: >= 1 and <= 366, MinuteDays: >= 1 and <= 3660 } || retention.MinuteDays < retention.SampleDays)
            throw new InvalidOperationException("Faults:SampleDays takes 1 to 366 and Faults:MinuteDays as many or more, up to 3660.");
        return retention;
    }

    /// <summary>From when on every sample is kept.</summary>
    public DateTimeOffset OldestSample(DateTimeOffset now) => new DateTimeOffset(now.UtcDateTime.Date, TimeSpan.Zero).AddDays(-SampleDays);

    /// <summary>From when on one a minute is kept.</summary>
    public DateTimeOffset OldestMinute(DateTimeOffset now) => new DateTimeOffset(now.UtcDateTime.Date, TimeSpan.Zero).AddDays(-MinuteDays);
}
