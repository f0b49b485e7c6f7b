using System.Globalization;

namespace Worker.Vms;

/// <summary>What a VMM may and may not. <c>User</c>: null runs it as the worker's own. <c>Group</c>: the only one it has besides its own, for a device that the
/// host keeps for it. <c>MemlockKib</c>: how much memory it may pin for devices; null: what the host says. <c>Cpus</c>: a list as the kernel writes it; null: all.
/// <c>OpenFile</c>: what it gets as descriptor <see cref="OpenDescriptor"/>, opened before privileges are gone. <c>Environment</c>: besides PATH.</summary>
public sealed record VmConfinement(uint? User, uint? Group)
{
    public const int OpenDescriptor = 3;

    public long? MemlockKib { get; init; }
    public string? Cpus { get; init; }
    public string? OpenFile { get; init; }
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>The programs that put all of it into effect, before the VMM's own.</summary>
    internal IReadOnlyList<string> Wrappers()
    {
        static string Number(uint id) => id.ToString(CultureInfo.InvariantCulture);
        List<string> wrappers = Cpus is { } cpus ? ["taskset", "--cpu-list", cpus] : [];
        if (User is { } user)
            wrappers.AddRange([
                "setpriv", "--reuid", Number(user), "--regid", Number(user), .. Group is { } one ? (string[])["--groups", Number(one)] : ["--clear-groups"],
                "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"]);
        return wrappers;
    }
}
