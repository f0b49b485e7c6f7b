using Contracts;
using Worker.Checks;
using Worker.Hardware;
using Worker.Images;
using Worker.Vms;

namespace Worker.Sync;

// Builds what the node reports. The images are looked through again only now and then; everything else is of the moment.
public sealed class NodeReportBuilder(
    WorkerOptions options, NodeCapabilities node, ImageCatalogue catalogue, EmulatedDevices devices, VmManager vms, TimeProvider time)
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
        return new NodeReport(
            NodeProtocol.Version, Version, time.GetUtcNow(), snapshot.AppliedPlanRevision, node.ToFacts(options, _imageProblems),
            [.. devices.Configured.Select(d => Report(d, snapshot))], _images, [.. snapshot.Views.Select(v => v.Sandbox)], Guid.Empty);
    }

    private ReportedDevice Report(EmulatedDeviceOptions device, VmSnapshot snapshot)
    {
        var holder = snapshot.Views.FirstOrDefault(v => v.HeldDevices.Contains(device.Name))?.Sandbox;
        var phase = holder?.State switch
        {
            null => DevicePhase.Available,
            VmState.Stopping => DevicePhase.Cleaning,
            _ => DevicePhase.Assigned,
        };
        var (vendor, id) = DeviceVerdict.IdentityOf(device.Kind);
        var description = device.Kind == "edu" ? "QEMU edu device with a 64-bit DMA engine" : "QEMU NVMe controller with one scratch namespace";
        return new ReportedDevice(
            device.Name, device.Class, vendor, id, description, Origin.Emulated, holder?.Id, phase, null,
            DeviceVerdict.Emulated(device.Kind, node.Qemu.Has(device.Kind)), NodeChecks.Viommus(node.Qemu), false);
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
