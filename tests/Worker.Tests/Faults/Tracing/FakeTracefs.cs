using Worker.Faults.Tracing;

namespace Worker.Tests.Faults.Tracing;

/// <summary>As much of tracefs as a keeper sees, with what the kernel was seen to refuse: what others use cannot be taken away.</summary>
internal sealed class FakeTracefs : ITraceFiles
{
    private readonly Lock _lock = new();
    private readonly List<(string Group, string Name, string Line)> _probes = [];
    private readonly List<(string Name, string Line)> _synthetic = [];
    private readonly Dictionary<string, Dictionary<string, List<string>>> _instances = [];
    private readonly Dictionary<string, Func<string>> _histograms = [];

    public HashSet<string> Functions { get; } = ["arm_smmu_handle_event", "iommu_report_device_fault", "arm_smmu_page_response", "ksys_read"];
    public HashSet<string> Unprobeable { get; } = [];
    public HashSet<string> KernelEvents { get; } = ["kvm/kvm_guest_fault"];
    public string Profile { get; set; } = "";
    public bool HasHistograms { get; set; } = true;
    /// <summary>Changes that are still let through; then the keeper is as killed.</summary>
    public int ChangesLeft { get; set; } = int.MaxValue;
    public int Changes { get; private set; }
    public List<string> Order { get; } = [];

    public sealed class KilledException : Exception;

    /// <summary>Everything that somebody has set up, in no order.</summary>
    public IReadOnlyList<string> State
    {
        get
        {
            lock (_lock)
                return [.. _probes.Select(p => p.Line), .. _synthetic.Select(s => s.Line), .. _instances.Keys, .. _instances.SelectMany(i => i.Value.SelectMany(e => e.Value))];
        }
    }

    public void SetHistogram(string folder, Func<string> text) => _histograms[folder] = text;

    public static string Histogram(string keys, long dropped, params string[] rows) =>
        $"# event histogram\n#\n# trigger info: hist:keys={keys}:vals=hitcount:sort=hitcount:size=2048 [active]\n#\n\n{string.Concat(rows.Select(row => row + "\n"))}\nTotals:\n    Hits: 1\n    Entries: {rows.Length}\n    Dropped: {dropped}\n";

    public bool Exists(string path)
    {
        lock (_lock)
            return path is TraceCommands.Probes or TraceCommands.SyntheticEvents or TraceCommands.Functions or TraceCommands.Profile || InstanceOf(path) is { } rest && (rest.Path.Length == 0 || EventExists(rest.Path));
    }

    public IReadOnlyList<string> Folders(string path)
    {
        lock (_lock)
            return InstanceOf(path) is not { } rest ? [] : rest.Path.Split('/')[^1] is "synthetic" ? [.. _synthetic.Select(s => s.Name)] : [.. _probes.Where(p => p.Group == rest.Path.Split('/')[^1]).Select(p => p.Name)];
    }

    public string Read(string path)
    {
        lock (_lock)
        {
            if (path == TraceCommands.Probes)
                return string.Concat(_probes.Select(p => p.Line + "\n"));
            if (path == TraceCommands.SyntheticEvents)
                return string.Concat(_synthetic.Select(s => s.Line + "\n"));
            if (path == TraceCommands.Functions)
                return string.Join('\n', Functions.Select(f => f + " [module]"));
            if (path == TraceCommands.Profile)
                return Profile;
            var (instance, rest) = InstanceOf(path) ?? throw new FileNotFoundException(path);
            var @event = rest["events/".Length..rest.LastIndexOf('/')];
            var triggers = _instances[instance].GetValueOrDefault(@event, []);
            if (rest.EndsWith("/trigger", StringComparison.Ordinal))
                return triggers.Count == 0 ? "# Available triggers:\n# hist\n" : string.Concat(triggers.Select(t => t + " [active]\n"));
            return _histograms.TryGetValue(@event[(@event.IndexOf('/') + 1)..], out var text) ? text() : string.Concat(triggers.Select(t => Histogram(t.Split(':')[1]["keys=".Length..], 0)));
        }
    }

    public void Write(string path, string text)
    {
        lock (_lock)
        {
            Change($"{path}: {text}");
            if (path == TraceCommands.Probes)
                WriteProbe(text);
            else if (path == TraceCommands.SyntheticEvents)
                WriteSynthetic(text);
            else if (path.EndsWith("/trigger", StringComparison.Ordinal))
                WriteTrigger(path, text);
            else if (!path.EndsWith("/buffer_size_kb", StringComparison.Ordinal))
                throw new FileNotFoundException(path);
        }
    }

    public void MakeFolder(string path)
    {
        lock (_lock)
        {
            Change($"+{path}");
            _instances.TryAdd(path["instances/".Length..], []);
        }
    }

    public void RemoveFolder(string path)
    {
        lock (_lock)
        {
            Change($"-{path}");
            var name = path["instances/".Length..];
            if (_instances[name].Values.SelectMany(t => t).Any(t => t.Contains("common_timestamp", StringComparison.Ordinal)))
                throw new IOException("Device or resource busy");
            _instances.Remove(name);
        }
    }

    private void Change(string what)
    {
        if (ChangesLeft-- <= 0)
            throw new KilledException();
        Changes++;
        Order.Add(what);
    }

    private (string Instance, string Path)? InstanceOf(string path)
    {
        var parts = path.Split('/', 3);
        return parts.Length > 1 && parts[0] == "instances" && _instances.ContainsKey(parts[1]) ? (parts[1], parts.Length > 2 ? parts[2] : "") : null;
    }

    private bool EventExists(string rest)
    {
        var parts = rest.Split('/');
        return parts.Length < 3 || (parts[1] == "synthetic" ? _synthetic.Exists(s => s.Name == parts[2]) : KernelEvents.Contains($"{parts[1]}/{parts[2]}") || _probes.Exists(p => p.Group == parts[1] && p.Name == parts[2]));
    }

    private IEnumerable<string> TriggersOf(string @event) => _instances.Values.SelectMany(i => i.GetValueOrDefault(@event, []));

    private void WriteProbe(string text)
    {
        var words = text.Split(' ');
        var (group, name) = (words[0].Split(':')[1].Split('/')[0], words[0].Split('/')[1]);
        if (text[0] == '-')
        {
            if (!_probes.Exists(p => p.Group == group && p.Name == name))
                throw new FileNotFoundException(text);
            if (TriggersOf($"{group}/{name}").Any())
                throw new IOException("Device or resource busy");
            _probes.RemoveAll(p => p.Group == group && p.Name == name);
            return;
        }
        if (!Functions.Contains(words[1]) || Unprobeable.Contains(words[1]))
            throw new IOException("Invalid argument");
        _probes.Add((group, name, (text[0] == 'r' ? "r10" : "p") + text[1..]));
    }

    private void WriteSynthetic(string text)
    {
        if (text[0] != '!')
        {
            _synthetic.Add((text.Split(' ')[0], text.Replace(" u64", "\tu64", StringComparison.Ordinal)));
            return;
        }
        var name = text[1..];
        if (TriggersOf($"synthetic/{name}").Any() || _instances.Values.SelectMany(i => i.Values).SelectMany(t => t).Any(t => t.Contains($"trace({name},", StringComparison.Ordinal)))
            throw new IOException("Device or resource busy");
        if (_synthetic.RemoveAll(s => s.Name == name) == 0)
            throw new IOException("Invalid argument");
    }

    private void WriteTrigger(string path, string text)
    {
        var (instance, rest) = InstanceOf(path) ?? throw new FileNotFoundException(path);
        var @event = rest["events/".Length..rest.LastIndexOf('/')];
        if (!EventExists("events/" + @event) || !HasHistograms)
            throw new IOException("Invalid argument");
        if (!_instances[instance].TryGetValue(@event, out var triggers))
            _instances[instance][@event] = triggers = [];
        if (text[0] != '!')
        {
            triggers.Add(text);
            return;
        }
        var trigger = text[1..];
        var variable = trigger.Split(':').FirstOrDefault(part => part.StartsWith("began_", StringComparison.Ordinal))?.Split('=')[0];
        if (variable is not null && _instances[instance].Values.SelectMany(t => t).Any(t => t.Contains($"-${variable}", StringComparison.Ordinal)))
            throw new UnauthorizedAccessException("Operation not permitted");
        if (!triggers.Remove(trigger))
            throw new IOException("Invalid argument");
    }
}
