using System.Globalization;
using System.Text;
using Contracts;
using Worker.Vms;

namespace Worker.Faults;

// What the kernel counts for the VM's cgroup: page faults (memory.stat) and time spent waiting for memory (memory.pressure).
// Guarantees: a file that is not there, or has no such line, is a reason and never 0; both are read whole and bounded, once a second.
// Assumes: the cgroup is made for each incarnation, so its counts begin with the guest. On a crash: nothing is kept, the kernel counts on.
internal sealed class CgroupFaults(VmCgroup? cgroup, Origin host) : IFaultCollector
{
    private const int MaxBytes = 64 * 1024;

    /// <summary>What was found. <c>IsThere</c>: null where the VM never had a cgroup.</summary>
    internal sealed record Seen(bool? IsThere, string? Stat, string? Pressure);

    public IEnumerable<SourceReading> Read(DateTimeOffset now) => Of(Look(cgroup), host);

    internal static Seen Look(VmCgroup? cgroup)
    {
        if (cgroup is null)
            return new Seen(null, null, null);
        var (stat, pressure) = (Text(cgroup, "memory.stat"), Text(cgroup, "memory.pressure"));
        // Asked last: what could not be read of a cgroup that is there now was there too.
        return new Seen(Directory.Exists(cgroup.FullPath), stat, pressure);
    }

    internal static IEnumerable<SourceReading> Of(Seen seen, Origin host)
    {
        var none = seen.IsThere switch { null => NullReasons.NoCgroup, false => NullReasons.VmmGone, true => null };
        var (noStat, noPressure) = (none ?? (seen.Stat is null ? NullReasons.CgroupControllerOff : null), none ?? (seen.Pressure is null ? NullReasons.PressureOff : null));
        SourceReading Stat(string source, params string[] names) => Reading.Of(source, noStat is null ? Sum(seen.Stat!, names) : null, noStat, NullReasons.NotToldByKernel, host);
        SourceReading Pressure(string source, string tasks) => Reading.Of(source, noPressure is null ? Total(seen.Pressure!, tasks) : null, noPressure, NullReasons.NotToldByKernel, host);
        yield return Stat(FaultSource.CgroupFaults, "pgfault");
        yield return Stat(FaultSource.CgroupMajor, "pgmajfault");
        yield return Stat(FaultSource.CgroupHugePages, "thp_fault_alloc");
        yield return Stat(FaultSource.CgroupRefaults, "workingset_refault_anon", "workingset_refault_file");
        yield return Pressure(FaultSource.MemoryStallSome, "some");
        yield return Pressure(FaultSource.MemoryStallFull, "full");
    }

    /// <summary>The sum of these lines, <c>pgfault 123</c>; null unless each is there, once and whole.</summary>
    internal static long? Sum(string stat, params IReadOnlyList<string> names)
    {
        long sum = 0;
        foreach (var name in names)
        {
            if (Only(stat, name) is not { } text || Number(text) is not { } value)
                return null;
            sum = Tally.Plus(sum, value);
        }
        return sum;
    }

    /// <summary>The microseconds in <c>some avg10=0.00 avg60=0.00 avg300=0.00 total=123</c>.</summary>
    internal static long? Total(string pressure, string tasks) =>
        Only(pressure, tasks)?.Split(' ').Where(field => field.StartsWith("total=", StringComparison.Ordinal)).ToList() is [var total] ? Number(total["total=".Length..]) : null;

    /// <summary>What follows a name at the beginning of a line; null when there is no such line that ends, or more than one.</summary>
    private static string? Only(string text, string name)
    {
        string? found = null;
        var from = 0;
        for (var end = text.IndexOf('\n', StringComparison.Ordinal); end >= 0; from = end + 1, end = text.IndexOf('\n', from))
        {
            var line = text.AsSpan(from, end - from);
            if (line.Length <= name.Length || line[name.Length] != ' ' || !line.StartsWith(name, StringComparison.Ordinal))
                continue;
            if (found is not null)
                return null;
            found = line[(name.Length + 1)..].ToString();
        }
        return found;
    }

    private static long? Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;

    /// <summary>Null when there is no such file, or the kernel does not answer: without PSI it does not.</summary>
    private static string? Text(VmCgroup cgroup, string name)
    {
        try
        {
            using var file = new FileStream(Path.Combine(cgroup.FullPath, name), FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            var buffer = new byte[MaxBytes];
            return Encoding.ASCII.GetString(buffer, 0, file.ReadAtLeast(buffer, MaxBytes, throwOnEndOfStream: false));
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return null;
        }
    }
}
