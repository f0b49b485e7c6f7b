using System.Diagnostics;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

/// <summary>The QEMU of this machine takes every kind of line that is built, up to the point where the guest would begin.</summary>
public sealed class QemuSmokeTests
{
    private const int GuestMib = 128, Small = 2048;

    public static TheoryData<Viommu, string> Machines => new MatrixTheoryData<Viommu, string>(Enum.GetValues<Viommu>(), ["", "edu", "nvme", "edu,edu,nvme,nvme"]);

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Start_WhenPaused_AnswersOnItsControlSocket(Viommu viommu, string kinds)
    {
        using var root = new TemporaryDirectory();
        var directory = Prepare(root);
        var devices = kinds.Split(',', StringSplitOptions.RemoveEmptyEntries).Index()
            .Select(d => new HeldDevice($"{d.Item}-{d.Index}", d.Item, d.Item == "nvme" ? Path.Combine(directory.VmmDirectory, $"{d.Index}.img") : null)).ToArray();
        foreach (var file in devices.Select(d => d.ScratchFile).OfType<string>())
            using (var stream = File.Create(file))
                stream.SetLength(1 << 20);
        await AnswersAsync(directory, Machine(root, viommu, GuestMemory.Plain(GuestMib), devices), _ => { });
    }

    /// <summary>Where the machine has pages set aside: echo 64 > /proc/sys/vm/nr_hugepages.</summary>
    [Fact]
    public async Task Start_OnHugePages_HasAllOfItsMemoryOnThem()
    {
        var pools = HugePageScan.Read(HostTree.Machine);
        Assert.SkipUnless(pools.Where(p => p.SizeKib == Small).Sum(p => p.Free ?? 0) >= GuestMib / 2, "this machine has not 64 huge pages of 2 MiB free");
        using var root = new TemporaryDirectory();
        var directory = Prepare(root);
        var memory = GuestMemory.Of(GuestMib, HugePageSize.Size2Mi, null, NumaScan.Read(HostTree.Machine), pools);
        await AnswersAsync(directory, Machine(root, Viommu.None, memory), pid =>
        {
            var held = File.ReadAllLines($"/proc/{pid}/status").Single(line => line.StartsWith("HugetlbPages:", StringComparison.Ordinal));
            Assert.Equal($"HugetlbPages:{GuestMib * 1024} kB", held.Replace("\t", "", StringComparison.Ordinal).Replace(" ", "", StringComparison.Ordinal).Replace("kB", " kB", StringComparison.Ordinal));
        });
    }

    [Fact]
    public async Task Start_OnHugePagesThatTheKernelHasNot_EndsWithItsReason()
    {
        var pools = HugePageScan.Read(HostTree.Machine).Where(p => p.SizeKib == Small).ToList();
        Assert.SkipWhen(pools.Count == 0, "this machine's kernel has no huge pages of 2 MiB");
        using var root = new TemporaryDirectory();
        var directory = Prepare(root);
        var memory = new GuestMemory(GuestMib + 2 * (int)pools.Sum(p => p.Total ?? 0), Small, null, null);
        using var process = Start(directory, Machine(root, Viommu.None, memory));
        var said = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal((1, "NoHugePagesLeft"), (process.ExitCode, KnownFailures.EndOf(said)?.Code ?? said));
    }

    private static RuntimeDirectory Prepare(TemporaryDirectory root)
    {
        Assert.SkipWhen(QemuProbe.Locate(null) is null, "qemu-system-aarch64 is not installed");
        var directory = RuntimeDirectory.Of(root.FullPath, Guid.Parse("00112233-4455-6677-8899-aabbccddeeff"));
        directory.Create();
        directory.CreateVmmDirectory(null);
        File.WriteAllText(root.Of("kernel"), "not a kernel");
        File.WriteAllText(QemuEventLog.InputOf(directory.EventPipe), QemuCommandLine.EnableEvents);
        File.WriteAllText(QemuEventLog.OutputOf(directory.EventPipe), "");
        return directory;
    }

    private static QemuMachine Machine(TemporaryDirectory root, Viommu viommu, GuestMemory memory, params HeldDevice[] devices) =>
        QemuCommandLineTests.Machine(viommu, root: root.FullPath, initrd: null, devices: devices) with { Kernel = root.Of("kernel"), Memory = memory };

    private static Process Start(RuntimeDirectory directory, QemuMachine machine)
    {
        var start = new ProcessStartInfo(QemuProbe.Locate(null)!) { RedirectStandardError = true, WorkingDirectory = directory.VmmDirectory };
        foreach (var argument in QemuCommandLine.Build(machine).Append("-S"))
            start.ArgumentList.Add(argument);
        return Process.Start(start)!;
    }

    private static async Task AnswersAsync(RuntimeDirectory directory, QemuMachine machine, Action<int> look)
    {
        using var process = Start(directory, machine);
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
            limit.CancelAfter(TimeSpan.FromSeconds(20));
            process.Exited += (_, _) => limit.Cancel();
            process.EnableRaisingEvents = true;
            await using var qmp = await QmpClient.ConnectAsync(directory.QmpSocket, TimeProvider.System, NullLogger.Instance, limit.Token);
            var status = await qmp.ExecuteAsync("query-status", null, limit.Token);
            Assert.Equal("prelaunch", status.GetProperty("status").GetString());
            look(process.Id);
            // Whether the answer still comes before the end is up to QEMU.
            await Task.WhenAny(qmp.ExecuteAsync("quit", null, TestContext.Current.CancellationToken));
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(EndCause.VmmExited, QemuEventLog.Read(directory.EventPipe));
        }
        catch (OperationCanceledException) when (process.HasExited)
        {
            Assert.Fail(await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken));
        }
        finally
        {
            if (!process.HasExited)
                process.Kill();
        }
    }
}
