using System.Text;
using System.Text.Json;
using Worker.Channels;

namespace Worker.Vms.Qemu;

// Pure but for reading the file: how a guest ended, from the events that QEMU wrote down itself while perhaps no worker listened.
// The file is QEMU's, whose user may have put anything there: it is bounded and never trusted for more than this guest's own end.
public static class QemuEventLog
{
    private const int MaxBytes = 256 * 1024;

    /// <summary>The two files of the "pipe".</summary>
    public static string InputOf(string pipe) => pipe + ".in";
    public static string OutputOf(string pipe) => pipe + ".out";

    public static EndCause? Read(string pipe)
    {
        try
        {
            // The end is near the end, however much a guest made QEMU say before.
            return VmFiles.ReadEnd(OutputOf(pipe), MaxBytes) is { } end ? Parse(Encoding.UTF8.GetString(end)) : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>Null when no event tells of an end. A panic outranks the shutdown that follows it.</summary>
    internal static EndCause? Parse(string text)
    {
        EndCause? cause = null;
        foreach (var line in text.Split('\n'))
        {
            if (!line.Contains("\"event\"", StringComparison.Ordinal))
                continue;
            // Null: a line that was cut by the bound, or not QEMU's.
            using var document = JsonLine.Parse(Encoding.UTF8.GetBytes(line.TrimEnd('\r')));
            if (document?.RootElement is { ValueKind: JsonValueKind.Object } root && root.TryGetProperty("event", out var name) && name.ValueKind == JsonValueKind.String)
                cause ??= CauseOf(name.GetString()!, root.TryGetProperty("data", out var data) ? data : default);
        }
        return cause;
    }

    /// <summary>What one event says of the end; null when it is about something else.</summary>
    public static EndCause? CauseOf(string name, JsonElement data)
    {
        if (name == "GUEST_PANICKED")
            return EndCause.GuestPanicked;
        if (name != "SHUTDOWN")
            return null;
        var reason = data.ValueKind == JsonValueKind.Object && data.TryGetProperty("reason", out var text) && text.ValueKind == JsonValueKind.String ? text.GetString() : null;
        return reason switch
        {
            "guest-shutdown" => EndCause.GuestPoweredOff,
            "guest-reset" or "subsystem-reset" => EndCause.GuestReset,
            "guest-panic" => EndCause.GuestPanicked,
            "host-qmp-quit" or "host-signal" or "host-ui" or "host-error" or "host-qmp-system-reset" => EndCause.VmmExited,
            _ => EndCause.GuestEndUnknown,
        };
    }
}
