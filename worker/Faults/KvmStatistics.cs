using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Worker.Hardware;

namespace Worker.Faults;

/// <summary>KVM's counts of one guest; null where nobody tells one.</summary>
internal sealed record KvmStatistics(long? Exits, long? MmioExits, long? TlbFlushes)
{
    public static readonly KvmStatistics None = new(null, null, null);
    private const int MostVcpus = 4096;
    private const string ExitsName = "exits", UserName = "mmio_exit_user", KernelName = "mmio_exit_kernel", FlushesName = "remote_tlb_flush", RequestsName = "remote_tlb_flush_requests";
    /// <summary>/proc/self/ns/pid of the first of all namespaces (PROC_PID_INIT_INO): debugfs names VMs by its numbers.</summary>
    private const string FirstProcesses = "pid:[4026531836]";

    public bool IsWhole => Exits is not null && MmioExits is not null && TlbFlushes is not null;

    public KvmStatistics Or(KvmStatistics other) => new(Exits ?? other.Exits, MmioExits ?? other.MmioExits, TlbFlushes ?? other.TlbFlushes);

    /// <summary>From /sys/kernel/debug/kvm/PID-DESCRIPTOR, where counts of vCPUs are sums over them. None when there is not exactly one for that process.</summary>
    public static KvmStatistics FromDebugfs(HostTree tree, int pid)
    {
        const string root = "sys/kernel/debug/kvm";
        var prefix = string.Create(CultureInfo.InvariantCulture, $"{pid}-");
        if (tree.LinkText("proc/self/ns/pid") != FirstProcesses || tree.Names(root).Where(name => name.StartsWith(prefix, StringComparison.Ordinal)).ToList() is not [var own])
            return None;
        long? Read(string name) => long.TryParse(tree.Text($"{root}/{own}/{name}", 32), NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
        return new KvmStatistics(Read(ExitsName), Sum(Read(UserName), Read(KernelName)), Larger(Read(FlushesName), Read(RequestsName)));
    }

    /// <summary>The arguments of query-stats for what belongs to a whole VM.</summary>
    public static JsonObject OfVm() => Question("vm", FlushesName, RequestsName);

    /// <summary>And for what belongs to each vCPU.</summary>
    public static JsonObject OfVcpus() => Question("vcpu", ExitsName, UserName, KernelName);

    /// <summary>From QMP's answers to both. The VMM may have been taken over: what is no such count, below zero or beyond 63 bits is none.</summary>
    public static KvmStatistics FromQmp(JsonElement vm, JsonElement vcpus) =>
        new(Over(vcpus, ExitsName), Sum(Over(vcpus, UserName), Over(vcpus, KernelName)), Larger(Over(vm, FlushesName), Over(vm, RequestsName)));

    private static JsonObject Question(string target, params string[] names) => new()
    {
        ["target"] = target,
        ["providers"] = new JsonArray(new JsonObject { ["provider"] = "kvm", ["names"] = new JsonArray([.. names.Select(name => (JsonNode)name)]) }),
    };

    /// <summary>The sum over all entries, each of which must have it.</summary>
    private static long? Over(JsonElement answer, string name)
    {
        if (answer.ValueKind != JsonValueKind.Array || answer.GetArrayLength() is 0 or > MostVcpus)
            return null;
        long? sum = 0;
        foreach (var entry in answer.EnumerateArray())
            sum = Sum(sum, Of(entry, name));
        return sum;
    }

    private static long? Of(JsonElement entry, string name)
    {
        if (entry.ValueKind != JsonValueKind.Object || !entry.TryGetProperty("provider", out var provider) || provider.ValueKind != JsonValueKind.String || !provider.ValueEquals("kvm")
            || !entry.TryGetProperty("stats", out var stats) || stats.ValueKind != JsonValueKind.Array)
            return null;
        long? found = null;
        foreach (var one in stats.EnumerateArray())
        {
            if (one.ValueKind != JsonValueKind.Object || !one.TryGetProperty("name", out var called) || called.ValueKind != JsonValueKind.String || !called.ValueEquals(name))
                continue;
            if (found is not null || !one.TryGetProperty("value", out var value) || value.ValueKind != JsonValueKind.Number || !value.TryGetInt64(out var number) || number < 0)
                return null;
            found = number;
        }
        return found;
    }

    private static long? Sum(long? one, long? other) => one is { } a && other is { } b && a <= long.MaxValue - b ? a + b : null;

    /// <summary>arm64 counts a flush when it is asked for, and in some releases only there.</summary>
    private static long? Larger(long? flushes, long? requests) => flushes is { } f && requests is { } r ? Math.Max(f, r) : flushes ?? requests;
}
