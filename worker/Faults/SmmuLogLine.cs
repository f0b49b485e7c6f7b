using System.Buffers;
using System.Globalization;

namespace Worker.Faults;

// One line of arm-smmu-v3 in a kernel's log, as a read of /dev/kmsg gives it. Pure; the host's worker and the guest's agent are both built with it.
// An event is told as "event 0x10 received:" and its words in hexadecimal; newer kernels (seen: 6.18, 7.3) add "event: F_TRANSLATION client: 0000:01:00.0 sid: ..." after these.
// Only the kernel's own lines count: what user space writes to /dev/kmsg is marked by the kernel as not its own.
internal readonly record struct SmmuLogLine(ulong Sequence, string Smmu, string Type, string? Client)
{
    public const string Unknown = "UNKNOWN";
    private const int OwnPriorities = 8, MaxName = 64, MaxType = 40;
    private static readonly SearchValues<char> TypeLetters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

    /// <summary>Null of any other line. <see cref="Client"/> is null in the line of the number alone.</summary>
    public static SmmuLogLine? Parse(ReadOnlySpan<char> record)
    {
        // "4,1234,567890,-;arm-smmu-v3 9050000.smmuv3: event 0x10 received:", and below it the device as the kernel knows it.
        var body = record.IndexOf(';');
        if (body < 0 || Place(record[..body]) is not { } sequence)
            return null;
        var text = record[(body + 1)..];
        if (text.IndexOf('\n') is >= 0 and var end)
            text = text[..end];
        const string driver = "arm-smmu-v3 ", number = "event 0x", received = " received:", decoded = "event: ", client = " client: ", stream = " sid: ";
        if (!text.StartsWith(driver, StringComparison.Ordinal))
            return null;
        text = text[driver.Length..];
        var colon = text.IndexOf(": ", StringComparison.Ordinal);
        if (colon is < 1 or > MaxName || text[..colon].Contains(' '))
            return null;
        var smmu = text[..colon];
        var said = text[(colon + 2)..];
        if (said.StartsWith(number, StringComparison.Ordinal) && said.EndsWith(received, StringComparison.Ordinal))
            return byte.TryParse(said[number.Length..^received.Length], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var id)
                ? new SmmuLogLine(sequence, smmu.ToString(), TypeOf(id), null)
                : null;
        var (who, which) = (said.IndexOf(client, StringComparison.Ordinal), said.IndexOf(stream, StringComparison.Ordinal));
        if (!said.StartsWith(decoded, StringComparison.Ordinal) || who < decoded.Length || which < who + client.Length || !IsType(said[decoded.Length..who]))
            return null;
        var name = said[(who + client.Length)..which];
        return name.Length is 0 or > MaxName ? null : new SmmuLogLine(sequence, smmu.ToString(), said[decoded.Length..who].ToString(), name.ToString());
    }

    /// <summary>The event's name (Arm SMMUv3, IHI 0070, 7.3).</summary>
    public static string TypeOf(byte number) => number switch
    {
        0x01 => "F_UUT",
        0x02 => "C_BAD_STREAMID",
        0x03 => "F_STE_FETCH",
        0x04 => "C_BAD_STE",
        0x05 => "F_BAD_ATS_TREQ",
        0x06 => "F_STREAM_DISABLED",
        0x07 => "F_TRANSL_FORBIDDEN",
        0x08 => "C_BAD_SUBSTREAMID",
        0x09 => "F_CD_FETCH",
        0x0a => "C_BAD_CD",
        0x0b => "F_WALK_EABT",
        0x10 => "F_TRANSLATION",
        0x11 => "F_ADDR_SIZE",
        0x12 => "F_ACCESS",
        0x13 => "F_PERMISSION",
        0x20 => "F_TLB_CONFLICT",
        0x21 => "F_CFG_CONFLICT",
        0x24 => "E_PAGE_REQUEST",
        0x25 => "F_VMS_FETCH",
        _ => Unknown,
    };

    /// <summary>The record's number; null when it is not the kernel's own.</summary>
    private static ulong? Place(ReadOnlySpan<char> head)
    {
        var first = head.IndexOf(',');
        var second = first < 0 ? -1 : head[(first + 1)..].IndexOf(',');
        return second > 0 && uint.TryParse(head[..first], NumberStyles.None, CultureInfo.InvariantCulture, out var priority) && priority < OwnPriorities
            && ulong.TryParse(head.Slice(first + 1, second), NumberStyles.None, CultureInfo.InvariantCulture, out var sequence)
            ? sequence
            : null;
    }

    private static bool IsType(ReadOnlySpan<char> text) =>
        text.Length is > 1 and <= MaxType && char.IsAsciiLetterUpper(text[0]) && !text.ContainsAnyExcept(TypeLetters);
}
