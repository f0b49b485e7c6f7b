using Contracts;
using Worker.Checks;
using Worker.Hardware;
using Worker.Images;
using Worker.Vms;

namespace Worker.Sync;

// Builds what the node reports. The images are looked through again only now and then; everything else is of the moment.
public sealed class NodeReportBuilder(
    WorkerOptions options, NodeCapabilities node, ImageCatalogue catalogue, NodeDevices devices, VmManager vms, TimeProvider time, Guid installation)
{
    private static readonly TimeSpan ScanPeriod = TimeSpan.FromSeconds(10);
    private static readonly string Version = typeof(NodeReportBuilder).Assembly.GetName().Version?.ToString(3) ?? "unknown";
    private long? _scannedAt;
    private IReadOnlyList<ReportedImage> _images = [];
    private IReadOnlyList<Failure> _imageProblems = [];

    public NodeReport Build()
    {
        ScanImages();
        var snapshot = vms.Snapshot();
        var reported = devices.Report(snapshot);
        return new NodeReport(
            NodeProtocol.Version, Version, time.GetUtcNow(), snapshot.AppliedPlanRevision, node.ToFacts(options, [.. _imageProblems, .. vms.Problems, .. devices.Problems]),
            reported, _images, [.. snapshot.Views.Select(v => v.Sandbox)], installation);
    }

    private void ScanImages()
    {
        if (_scannedAt is { } at && time.GetElapsedTime(at) < ScanPeriod)
            return;
        var (images, problems) = catalogue.Scan(time.GetUtcNow());
        _images = [.. images.Select(i => i.ToReport())];
        _imageProblems = problems;
        _scannedAt = time.GetTimestamp();
    }
}
