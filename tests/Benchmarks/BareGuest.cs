using System.Diagnostics;
using System.Text.Json;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Testing;
using Worker.Agent;
using Worker.Checks;
using Worker.Images;

namespace Benchmarks;

/// <summary>The guest image under QEMU with the shortest command line that lets its agent speak, as one would type it: no own user, control group,
/// seccomp filter, shared memory or event log. The baseline for everything the service adds.</summary>
internal sealed class BareGuest : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _directory;

    private BareGuest(Process process, string directory, DateTimeOffset startedAt)
    {
        (_process, _directory, StartedAt) = (process, directory, startedAt);
        Agent = new AgentChannel(Path.Combine(directory, "agent.sock"), TimeProvider.System, NullLogger.Instance);
    }

    public DateTimeOffset StartedAt { get; }
    public AgentChannel Agent { get; }
    public string ControlSocket => Path.Combine(_directory, "qmp.sock");

    public static BareGuest Start(params string[] more)
    {
        var directory = Surroundings.NewDirectory("bare");
        var image = JsonDocument.Parse(File.ReadAllText(Path.Combine(Surroundings.Images, "guest", "image.json"))).RootElement;
        string FileOf(string part) => Path.Combine(Surroundings.Images, "guest", image.GetProperty("files").GetProperty(part).GetProperty("path").GetString()!);
        var start = new ProcessStartInfo(QemuProbe.Locate(null) ?? throw new InvalidOperationException("qemu-system-aarch64 is not installed")) { WorkingDirectory = directory };
        foreach (var argument in (string[])[
            "-nodefaults", "-display", "none", "-M", "virt,gic-version=3,iommu=smmuv3", "-accel", "tcg", "-cpu", "neoverse-n1", "-smp", "1", "-m", "256M",
            "-kernel", FileOf("kernel"), "-initrd", FileOf("initrd"), "-append", image.GetProperty("commandLine").GetString()!,
            "-serial", "file:serial.log", "-qmp", "unix:qmp.sock,server=on,wait=off", "-D", "trace.log",
            "-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off",
            "-device", $"virtserialport,chardev=agent,name={AgentProtocol.PortName}", .. more])
            start.ArgumentList.Add(argument);
        var at = TimeProvider.System.GetUtcNow();
        return new BareGuest(Process.Start(start)!, directory, at);
    }

    /// <summary>A raw disk for a device of this machine; a path that the caller may name on the command line.</summary>
    public static string Disk(int mib)
    {
        var path = Path.Combine(Surroundings.NewDirectory("disk"), "disk.img");
        using var file = File.Create(path);
        file.SetLength((long)mib << 20);
        return path;
    }

    public async Task<T> HearAsync<T>(CancellationToken ct) where T : AgentMessage
    {
        await foreach (var message in Agent.Messages.ReadAllAsync(ct))
            if (message is T wanted)
                return wanted;
        throw new InvalidOperationException("the agent's port is closed");
    }

    public async ValueTask DisposeAsync()
    {
        await Agent.DisposeAsync();
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
