using System.Globalization;
using System.Runtime.InteropServices;

namespace Worker.Hardware;

/// <summary>What the machine says of itself; read once, for it does not change while a worker runs.</summary>
public sealed record HostFacts(string Architecture, string Kernel, string OperatingSystem, string CpuModel, int Cpus, long MemoryMib, string BootId)
{
    public static HostFacts Read() => new(
        RuntimeInformation.OSArchitecture switch
        {
            System.Runtime.InteropServices.Architecture.Arm64 => "arm64",
            System.Runtime.InteropServices.Architecture.X64 => "amd64",
            var other => other.ToString().ToLowerInvariant(),
        },
        KernelScan.Release(HostTree.Machine),
        OsName(File.Exists("/etc/os-release") ? File.ReadAllText("/etc/os-release") : ""),
        CpuName(File.ReadAllText("/proc/cpuinfo")),
        Environment.ProcessorCount,
        MemoryTotalMib(File.ReadAllText("/proc/meminfo")),
        ReadBootId());

    /// <summary>Whether the kernel can filter system calls: QEMU refuses to start with a filter where it cannot.</summary>
    internal static bool HasSeccomp(HostTree tree) => tree.Text("proc/self/status", 1 << 16)?.Contains("\nSeccomp:", StringComparison.Ordinal) == true;

    /// <summary>Another after each boot. A kernel without SYSCTL has none: there the second of the boot stands for it.</summary>
    public static string ReadBootId() => BootIdOf(HostTree.Machine);

    internal static string BootIdOf(HostTree tree) => tree.Text("proc/sys/kernel/random/boot_id")
        ?? tree.Text("proc/stat", 1 << 20)?.Split('\n').FirstOrDefault(line => line.StartsWith("btime ", StringComparison.Ordinal))?.Replace(' ', '-')
        ?? throw new InvalidOperationException("the kernel tells neither a boot id nor when it booted");

    internal static string OsName(string osRelease) =>
        osRelease.Split('\n').FirstOrDefault(l => l.StartsWith("PRETTY_NAME=", StringComparison.Ordinal))?[12..].Trim('"') ?? "unknown";

    /// <summary>x86 names its model; arm64 gives implementer and part numbers.</summary>
    internal static string CpuName(string cpuinfo)
    {
        string? Field(string name) => cpuinfo.Split('\n').FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))?.Split(':', 2).ElementAtOrDefault(1)?.Trim();
        return Field("model name")
            ?? (Field("CPU part") is { } part ? $"implementer {Field("CPU implementer")} part {part}" : "unknown");
    }

    internal static long MemoryTotalMib(string meminfo)
    {
        var line = meminfo.Split('\n').First(l => l.StartsWith("MemTotal:", StringComparison.Ordinal));
        return long.Parse(line.Split((char[])[' '], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024;
    }
}
