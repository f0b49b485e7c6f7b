using System.Diagnostics;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

/// <summary>The QEMU of this machine takes every kind of line that is built, up to the point where the guest would begin.</summary>
public sealed class QemuSmokeTests
{
    public static TheoryData<Viommu, string> Machines => new MatrixTheoryData<Viommu, string>(Enum.GetValues<Viommu>(), ["", "edu", "nvme", "edu,edu,nvme,nvme"]);

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Start_WhenPaused_AnswersOnItsControlSocket(Viommu viommu, string kinds)
    {
        var qemu = QemuProbe.Locate(null);
        Assert.SkipWhen(qemu is null, "qemu-system-aarch64 is not installed");
        using var root = new TemporaryDirectory();
        var directory = RuntimeDirectory.Of(root.FullPath, Guid.Parse("00112233-4455-6677-8899-aabbccddeeff"));
        directory.Create();
        directory.CreateVmmDirectory(null);
        File.WriteAllText(root.Of("kernel"), "not a kernel");
        File.WriteAllText(QemuEventLog.InputOf(directory.EventPipe), QemuCommandLine.EnableEvents);
        File.WriteAllText(QemuEventLog.OutputOf(directory.EventPipe), "");
        var devices = kinds.Split(',', StringSplitOptions.RemoveEmptyEntries).Index()
            .Select(d => new HeldDevice($"{d.Item}-{d.Index}", d.Item, d.Item == "nvme" ? Path.Combine(directory.VmmDirectory, $"{d.Index}.img") : null)).ToArray();
        foreach (var file in devices.Select(d => d.ScratchFile).OfType<string>())
            using (var stream = File.Create(file))
                stream.SetLength(1 << 20);
        var machine = QemuCommandLineTests.Machine(viommu, root: root.FullPath, initrd: null, devices: devices) with { Kernel = root.Of("kernel"), Memory = GuestMemory.Plain(128) };

        var start = new ProcessStartInfo(qemu!) { RedirectStandardError = true, WorkingDirectory = directory.VmmDirectory };
        foreach (var argument in QemuCommandLine.Build(machine).Append("-S"))
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
            limit.CancelAfter(TimeSpan.FromSeconds(20));
            process.Exited += (_, _) => limit.Cancel();
            process.EnableRaisingEvents = true;
            await using var qmp = await QmpClient.ConnectAsync(directory.QmpSocket, TimeProvider.System, NullLogger.Instance, limit.Token);
            var status = await qmp.ExecuteAsync("query-status", null, limit.Token);
            Assert.Equal("prelaunch", status.GetProperty("status").GetString());
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
