using Contracts;

namespace Worker.Vms;

// Pure: what an untrusted guest says, cut to a size and alphabet that may go into reports.
public static class GuestReports
{
    private const int MaxTextLength = 256;
    private const int MaxProbes = 16;

    public static GuestFacts Facts(AgentReady ready) => new(
        Clip(ready.AgentVersion), Clip(ready.Kernel), Clip(ready.BootId), ready.Cpus is >= 1 and <= 4096 ? ready.Cpus : null, ready.MemoryKib is > 0 and <= 1L << 40 ? ready.MemoryKib : null);

    public static IReadOnlyList<ProbeResult> Probes(AgentProbe probe) =>
    [
        .. (probe.Devices ?? []).Where(d => d is not null).Take(MaxProbes).Select(d => d with
        {
            PciAddress = Clip(d.PciAddress),
            VendorId = Clip(d.VendorId),
            DeviceId = Clip(d.DeviceId),
            Outcome = Enum.IsDefined(d.Outcome) ? d.Outcome : ProbeOutcome.Skipped,
            Reason = Code(d.Reason),
            Message = Clip(d.Message),
            IovaEqualsVa = ClipOrNull(d.IovaEqualsVa),
            UnmappedAccess = ClipOrNull(d.UnmappedAccess),
            IommuDriver = ClipOrNull(d.IommuDriver),
        }),
    ];

    private static string? ClipOrNull(string? text) => text is null ? null : Clip(text);

    private static string Clip(string? text)
    {
        text ??= "";
        var cut = text.Length <= MaxTextLength ? text : text[..MaxTextLength];
        return string.Concat(cut.Select(c => char.IsControl(c) || char.IsSurrogate(c) ? '?' : c));
    }

    private static string Code(string? text) =>
        text is { Length: >= 1 and <= 63 } && text.All(char.IsAsciiLetterOrDigit) ? text : ProbeReasons.ReasonUnreadable;
}
