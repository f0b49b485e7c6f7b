namespace Api.Sandboxes;

/// <summary>Setting <c>Placement__PreemptionNoticeSeconds</c>: how long before its end one of lower priority is told that it ends for another; 0 to 3600, default 30.</summary>
public sealed record PlacementSettings(TimeSpan PreemptionNotice)
{
    private const int DefaultNoticeSeconds = 30, MaxNoticeSeconds = 3600;

    public static PlacementSettings Read(IConfiguration configuration) => configuration.GetValue("Placement:PreemptionNoticeSeconds", DefaultNoticeSeconds) is >= 0 and <= MaxNoticeSeconds and var seconds
        ? new(TimeSpan.FromSeconds(seconds))
        : throw new InvalidOperationException($"Placement:PreemptionNoticeSeconds takes 0 to {MaxNoticeSeconds}.");
}
