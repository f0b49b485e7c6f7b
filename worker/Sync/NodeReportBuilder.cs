using Contracts;
using Worker.Checks;
using Worker.Hardware;
using Worker.Images;
using Worker.Vms;

namespace Worker.Sync;

// Builds what the node reports, all of it of the moment but the images (ImageScan).
public sealed class NodeReportBuilder(
    WorkerOptions options, NodeCapabilities node, ImageScan scan, NodeDevices devices, VmManager vms, TimeProvider time, Guid installation, ImageCache? cache = null)
{
    private static readonly string Version = typeof(NodeReportBuilder).Assembly.GetName().Version?.ToString(3) ?? "unknown";

    public NodeReport Build()
    {
        var (images, imageProblems) = scan.Latest();
        var snapshot = vms.Snapshot();
        var reported = devices.Report(snapshot);
        // After the snapshot: a guest that is said to run has its pages.
        var hugePages = node.IsSimulated ? [] : HugePageScan.Read(HostTree.Machine);
        return new NodeReport(
            NodeProtocol.Version, Version, time.GetUtcNow(), snapshot.AppliedPlanRevision, node.ToFacts(options, [.. imageProblems, .. cache?.Problems ?? [], .. vms.Problems, .. devices.Problems], hugePages),
            reported, images, [.. snapshot.Views.Select(v => v.Sandbox)], installation, NodeProtocol.Minor);
    }
}
