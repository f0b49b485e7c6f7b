using Contracts;

namespace Api.Nodes;

/// <summary>Whether a report is whole. Pure. A node is another program, perhaps of another version: what it leaves out must not be stored
/// and stop the placement or the page of everybody else.</summary>
public static class NodeReports
{
    private const int MaxText = 1024, MaxProse = 8192, MaxViommus = 8;

    /// <summary>Null when nothing is missing.</summary>
    public static string? Problem(NodeReport? report)
    {
        if (report is not { Facts: { } facts, Sandboxes: not null, Devices: not null, Images: not null }) return "facts, sandboxes, devices and images are required";
        if (report.Installation == Guid.Empty) return "the installation is required";
        if (facts is not { Viommus: not null, Problems: not null } || !Fits(facts.Architecture) || !Fits(facts.Kernel) || !Fits(facts.BootId) || facts.Problems.Any(p => p is null)
            || facts.Viommus.Count > MaxViommus || facts.VmmVersion is { } vmm && !Fits(vmm) || facts.KvmtoolVersion is { } kvmtool && !Fits(kvmtool)) return "the facts are not complete";
        if (facts.VcpuCapacity < 0 || facts.MemoryCapacityMib < 0) return "a capacity is negative";
        if (!report.Devices.All(d => d is { Verdict.Links: not null } && Fits(d.Address) && Fits(d.Class) && Fits(d.VendorId) && Fits(d.DeviceId) && Fits(d.Description))) return "a device is not complete";
        if (!report.Devices.All(d => d.Viommus is { Count: <= MaxViommus })) return "a device does not say what it fits";
        if (!report.Devices.All(d => d.Quarantine is null ? d.Phase != DevicePhase.Quarantined : IsTold(d.Quarantine)))
            return "a quarantine does not say why";
        if (report.Devices.DistinctBy(d => d.Address).Count() != report.Devices.Count) return "an address is reported twice";
        if (!report.Images.All(i => i is not null && Fits(i.Name) && Fits(i.Digest) && Fits(i.Architecture) && Fits(i.Kernel))) return "an image is not complete";
        if (report.Images.DistinctBy(i => i.Name).Count() != report.Images.Count) return "an image is reported twice";
        return report.Sandboxes.All(s => s is { Conditions: not null } && s.Conditions.All(c => c is not null && Fits(c.Reason) && IsProse(c.Message)) && (s.Failure is null || IsTold(s.Failure))
            && s.Verdict is null or { Links: not null }) ? null : "a sandbox is not complete";
    }

    private static bool IsTold(Failure failure) => Fits(failure.Reason) && IsProse(failure.Message) && IsProse(failure.Remedy);

    private static bool IsProse(string? text) => text is { Length: <= MaxProse };

    private static bool Fits(string? text) => text is { Length: > 0 and <= MaxText };
}
