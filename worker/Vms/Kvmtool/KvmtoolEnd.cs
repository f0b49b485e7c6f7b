using System.Globalization;
using System.Text;

namespace Worker.Vms.Kvmtool;

// Pure but for reading two files: how a guest of lkvm ended. lkvm ends with status 0 whether its guest powered off, reset or was stopped
// (kvm-cpu.c takes every system event for a shutdown), so the kernel's last words on the console tell those apart; a kill or a
// crash has another status or none. The files are the VM's user's: bounded, and never trusted for more than this guest's own end.
internal static class KvmtoolEnd
{
    private const int MaxStatusBytes = 8, LookBack = 32 * 1024, Terminated = 128 + 15;

    // Said by Linux at its most urgent level, so that no "quiet" hides it (kernel/reboot.c, kernel/panic.c).
    private static readonly (string Words, EndCause Cause)[] LastWords =
    [
        ("reboot: Power down", EndCause.GuestPoweredOff),
        ("reboot: System halted", EndCause.GuestPoweredOff),
        ("reboot: Restarting system", EndCause.GuestReset),
        ("Kernel panic - not syncing", EndCause.GuestPanicked),
    ];

    public static EndCause Read(RuntimeDirectory directory)
    {
        var status = Text(KvmtoolLauncher.ExitStatus(directory), MaxStatusBytes);
        return CauseOf(int.TryParse(status.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null,
            Text(KvmtoolLauncher.ConsoleOutput(directory), LookBack));
    }

    // status: Null when none was written, because the launcher was killed too.
    internal static EndCause CauseOf(int? status, string console) => status switch
    {
        0 => LastWords.Select(last => (At: console.LastIndexOf(last.Words, StringComparison.Ordinal), last.Cause))
            .Where(found => found.At >= 0).OrderBy(found => found.At).Select(found => (EndCause?)found.Cause).LastOrDefault() ?? EndCause.GuestEndUnknown,
        Terminated => EndCause.VmmExited,
        _ => EndCause.VmmKilled,
    };

    private static string Text(string path, int maxBytes)
    {
        try
        {
            return Encoding.UTF8.GetString(VmFiles.ReadEnd(path, maxBytes) ?? []);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
