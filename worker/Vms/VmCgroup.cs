using System.Globalization;

namespace Worker.Vms;

// One cgroup for each VM, below <cgroup2 mount>/<the worker's own cgroup>/<name of this node>; or beside the worker's own, where that is the leaf
// that a unit's DelegateSubgroup made for it: controllers reach only the children of a cgroup without processes (Linux admin-guide/cgroup-v2.rst).
// Guarantees: every process of a VM can be found and ended even if the worker died between starting it and writing its number down.
// Assumes: nothing about delegation. Where cgroups cannot be made, VMs run without one; where controllers are not delegated, without limits.

public sealed class CgroupTree
{
    /// <summary>The name of that leaf.</summary>
    public const string Leaf = "sandbox-worker";
    private readonly string? _parent;

    private CgroupTree(string? parent, string? unavailable, string? limitsReason, bool wasThere = false) =>
        (_parent, Unavailable, LimitsReason, WasThere) = (parent, unavailable, limitsReason, wasThere);

    /// <summary>Whether the node's cgroup had been made before.</summary>
    public bool WasThere { get; }

    /// <summary>Why VMs get no cgroup; null when they do.</summary>
    public string? Unavailable { get; }
    /// <summary>Why memory and CPU limits are not set; null when they are.</summary>
    public string? LimitsReason { get; }
    public string? Parent => _parent;

    /// <summary>For VMs that are no processes of their own.</summary>
    public static CgroupTree Without(string reason) => new(null, reason, reason);

    public static CgroupTree Open(string nodeName)
    {
        var own = OwnPath(File.ReadAllText("/proc/self/cgroup"));
        if (MountPoint(File.ReadAllText("/proc/self/mountinfo")) is not { } mount || own is null)
            return new CgroupTree(null, "this host has no cgroup v2 hierarchy", "this host has no cgroup v2 hierarchy");
        var above = Path.Join(mount, Above(own));
        var parent = Path.Join(above, nodeName);
        try
        {
            var wasThere = Directory.Exists(parent);
            Directory.CreateDirectory(parent);
            // Another user may have made it.
            var attempt = Path.Combine(parent, "attempt");
            Directory.CreateDirectory(attempt);
            VmCgroup.TryRemove(attempt);
            if (IsLeaf(own))
                EnableControllers(above);
            return new CgroupTree(parent, null, EnableControllers(parent), wasThere);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            var reason = $"the worker may not create cgroups below {Path.GetDirectoryName(parent)}";
            return new CgroupTree(null, reason, reason);
        }
    }

    public VmCgroup? Of(Guid id) => _parent is null ? null : new VmCgroup(Path.Combine(_parent, id.ToString("N", CultureInfo.InvariantCulture)));

    public IReadOnlyList<Guid> Existing() => _parent is null
        ? []
        : [.. Directory.EnumerateDirectories(_parent).Select(Path.GetFileName)
            .Select(name => Guid.TryParseExact(name, "N", out var id) ? id : (Guid?)null).OfType<Guid>()];

    /// <summary>Removes the node's own cgroup; fails quietly while VMs are in it.</summary>
    public void RemoveParent()
    {
        if (_parent is not null)
            VmCgroup.TryRemove(_parent);
    }

    internal static string? MountPoint(string mountInfo)
    {
        foreach (var line in mountInfo.Split('\n'))
        {
            var separator = line.IndexOf(" - ", StringComparison.Ordinal);
            if (separator < 0 || !line.AsSpan(separator + 3).StartsWith("cgroup2 "))
                continue;
            var fields = line[..separator].Split(' ');
            if (fields.Length > 4)
                return fields[4].Replace("\\040", " ", StringComparison.Ordinal);
        }
        return null;
    }

    internal static bool IsLeaf(string own) => own.EndsWith("/" + Leaf, StringComparison.Ordinal);

    /// <summary>Where the node's cgroup is made, below the mount.</summary>
    internal static string Above(string own) => IsLeaf(own) ? own[..^(Leaf.Length + 1)] : own == "/" ? "" : own;

    internal static string? OwnPath(string cgroup) =>
        cgroup.Split('\n').FirstOrDefault(line => line.StartsWith("0::/", StringComparison.Ordinal))?[3..];

    internal static string? EnableControllers(string parent)
    {
        var available = File.ReadAllText(Path.Combine(parent, "cgroup.controllers")).Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        var missing = ((string[])["memory", "cpu"]).Except(available).ToList();
        if (missing.Count > 0)
            return $"the cgroup v2 controllers {string.Join(" and ", missing)} are not delegated to {parent}";
        try
        {
            File.WriteAllText(Path.Combine(parent, "cgroup.subtree_control"), available.Contains("pids") ? "+memory +cpu +pids" : "+memory +cpu");
            return null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return $"the cgroup v2 controllers of {parent} cannot be enabled for its children: {problem.Message}";
        }
    }
}

public sealed record VmCgroup(string FullPath)
{
    private const int MostTasks = 512;

    public string ProcsFile => Path.Combine(FullPath, "cgroup.procs");

    // memoryBytes: Guest memory; the VMM's own needs are added.
    // Pages of a memfd and what iommufd keeps beside them are counted here; huge pages are not (hugetlb.max, whose default is no limit).
    // vcpus: Null: no limit.
    public void Create(long? memoryBytes, int? vcpus)
    {
        Directory.CreateDirectory(FullPath);
        if (memoryBytes is { } bytes)
            WriteIfPresent("memory.max", (bytes + bytes / 4 + (1536L << 20)).ToString(CultureInfo.InvariantCulture));
        // No VMM needs as many threads (64 vCPUs, 64 for its files, its own); one that was taken over would fill the host's table of processes.
        WriteIfPresent("pids.max", MostTasks.ToString(CultureInfo.InvariantCulture));
        // One more CPU than the guest's for the VMM's own threads.
        if (vcpus is { } count)
            WriteIfPresent("cpu.max", $"{(count + 1) * 100_000} 100000");
    }

    public IReadOnlyList<int> Processes()
    {
        try
        {
            return [.. File.ReadLines(ProcsFile).Select(line => int.Parse(line, CultureInfo.InvariantCulture))];
        }
        catch (IOException)
        {
            return [];
        }
    }

    public void KillAll()
    {
        try
        {
            File.WriteAllText(Path.Combine(FullPath, "cgroup.kill"), "1");
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            foreach (var pid in Processes())
                if (ProcessIdentity.Of(pid) is { } identity)
                    using (var handle = ProcessHandle.Open(identity))
                        handle?.Kill();
        }
    }

    /// <summary>False while a process is still in it.</summary>
    public bool Remove() => TryRemove(FullPath);

    internal static bool TryRemove(string path)
    {
        if (!Directory.Exists(path))
            return true;
        try
        {
            // A cgroup's files cannot be deleted, its directory alone can.
            Directory.Delete(path, recursive: false);
            return true;
        }
        catch (IOException)
        {
            return !Directory.Exists(path);
        }
    }

    private void WriteIfPresent(string file, string text)
    {
        var path = Path.Combine(FullPath, file);
        if (File.Exists(path))
            File.WriteAllText(path, text);
    }
}
