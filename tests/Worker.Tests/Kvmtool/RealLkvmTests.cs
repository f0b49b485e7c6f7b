using Worker.Tests.Faults.Tracing;
using Worker.Tests.Hardware.Assignment;
using Worker.Faults;
using System.Runtime.InteropServices;
using System.Text;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Images;
using Worker.Vms;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

/// <summary>The core of KvmtoolVmTests with kvmtool itself and a guest image: on an arm64 machine with KVM, where LKVM names the program.</summary>
public sealed class RealLkvmTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AGuest_IsConfirmed_ShowsItsConsole_IsAdopted_AndIsStopped()
    {
        var lkvm = Environment.GetEnvironmentVariable("LKVM");
        Assert.SkipWhen(string.IsNullOrEmpty(lkvm), "LKVM names no kvmtool: set it to the path of lkvm");
        var (acceleration, why, _) = AccelerationProbe.Probe(ownUserPerVm: false);
        Assert.SkipWhen(acceleration != Acceleration.Kvm, $"kvmtool runs guests by KVM only: {why}");
        var images = new ImageCatalogue(Environment.GetEnvironmentVariable("SANDBOX_TEST_IMAGES") ?? "/nonexistent");
        var found = images.Scan(TimeProvider.System.GetUtcNow()).Images;
        var image = found is [var first, ..] ? first : null;
        Assert.SkipWhen(image is null, "there is no guest image: run ./sandbox image");

        using var root = new TemporaryDirectory("/tmp");
        var facts = await KvmtoolProbe.AskAsync(lkvm, Ct);
        Assert.NotNull(facts.UsableVersion(kvm: true));
        var id = Guid.NewGuid();
        var manager = NewManager(root.FullPath, facts, images);
        try
        {
            Apply(manager, 1, id, image!.Manifest.Name, DesiredState.Running);
            await UntilAsync(manager, id, VmState.Running);
            await Eventually.TrueAsync(() => Text(manager, id).Contains("console=ttyS0", StringComparison.Ordinal) || Text(manager, id).Length > 200, "the guest's kernel speaks", 60);
            await manager.ConsoleOf(id)!.WriteAsync("\u0001x"u8.ToArray(), Ct);
            await manager.DisposeAsync();
            manager = NewManager(root.FullPath, facts, images);
            await UntilAsync(manager, id, VmState.Running);
            Apply(manager, 2, id, image.Manifest.Name, DesiredState.Stopped);
            await UntilAsync(manager, id, VmState.Stopped);
        }
        finally
        {
            await manager.DestroyAllAsync(TimeSpan.FromSeconds(10));
            await manager.DisposeAsync();
        }
    }

    private static VmManager NewManager(string root, KvmtoolFacts facts, ImageCatalogue images)
    {
        var vmm = new KvmtoolVmm(new KvmtoolHost(facts, Acceleration.Kvm, RuntimeInformation.OSArchitecture, null, _ => []), images, new HostFaults(HostTree.Machine, NoTracing.Anywhere, Origin.Hardware, TimeProvider.System, NullLogger.Instance), TimeProvider.System, NullLogger.Instance);
        var manager = new VmManager(root, new VmSurroundings(
            new VmmChoice(new Dictionary<Vmm, IVmm> { [Vmm.Kvmtool] = vmm }), NodeWith.Devices(new EmulatedDevices([], 1), root, TimeProvider.System), new UserIds(false, 0, 0),
            CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}"), "host-boot", TimeProvider.System, NullLogger.Instance));
        manager.Start();
        return manager;
    }

    private static void Apply(VmManager manager, int revision, Guid id, string image, DesiredState desired) => manager.Apply(new NodePlan(
        revision, [new PlannedSandbox(id, "x", 1, desired, false, new SandboxSpec(image, 1, 256, Viommu.None, [], null, [], Vmm.Kvmtool))], [], []));

    private static Task UntilAsync(VmManager manager, Guid id, VmState state) => Eventually.TrueAsync(
        () => manager.Snapshot().Views.Any(view => view.Sandbox.Id == id && view.Sandbox.State == state), $"the state is {state}", 30);

    private static string Text(VmManager manager, Guid id) => Encoding.UTF8.GetString(manager.ConsoleOf(id)?.Read(0, int.MaxValue).Data ?? []);
}
