using System.Globalization;
using System.Text.RegularExpressions;

namespace Worker.Vms.Kvmtool;

/// <summary>One machine for <see cref="KvmtoolCommandLine.Build"/>. <c>Options</c>: those that this lkvm has, without dashes.</summary>
public sealed record KvmtoolMachine(
    int Vcpus, int MemoryMib, string Kernel, string? Initrd, string KernelCommandLine, IReadOnlyList<string> Devices, IReadOnlySet<string> Options);

// Pure: a machine to the arguments of lkvm run (builtin-run.c, BUILD_OPTIONS). With --nodefaults nothing is added to what is asked for:
// without it and without an initrd lkvm would share the host's root directory with the guest. Its --sandbox is no confinement.
public static partial class KvmtoolCommandLine
{
    /// <summary>Each VM has a directory of its own for lkvm's sockets, so the name need not be unique; it must be short (KvmtoolLauncher).</summary>
    public const string Name = "vm";
    public static readonly IReadOnlyList<string> Needed = ["name", "cpus", "mem", "kernel", "initrd", "params", "console", "network", "irqchip", "vfio-pci"];

    [GeneratedRegex(@"(?<!\S)(console|earlycon)(=\S*)?(?!\S) *")]
    private static partial Regex ConsoleParameter();

    public static IReadOnlyList<string> Build(KvmtoolMachine machine)
    {
        var line = new List<string>
        {
            "run", "--name", Name,
            "-c", machine.Vcpus.ToString(CultureInfo.InvariantCulture),
            "-m", machine.MemoryMib.ToString(CultureInfo.InvariantCulture),
            "-k", machine.Kernel,
        };
        if (machine.Initrd is { } initrd)
            line.AddRange(["-i", initrd]);
        line.AddRange(["-p", KernelCommandLine(machine.KernelCommandLine)]);
        foreach (var device in machine.Devices)
            line.AddRange(["--vfio-pci", device]);
        line.AddRange(["--irqchip", "gicv3-its", "--console", "serial", "--network", "mode=none"]);
        if (machine.Options.Contains("nodefaults"))
            line.Add("--nodefaults");
        if (machine.Options.Contains("loglevel"))
            line.AddRange(["--loglevel", "info"]);
        return line;
    }

    /// <summary>An image names the console of QEMU's machine; kvmtool's is an 8250.</summary>
    internal static string KernelCommandLine(string image) => $"console=ttyS0 {ConsoleParameter().Replace(image, "").Trim()}".TrimEnd();
}
