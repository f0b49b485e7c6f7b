using System.Globalization;

namespace Worker.Vms;

// One directory for each sandbox below the worker's state directory:
//   spec.json state.json console.ring   the worker's own, which the VM's user can neither read nor replace
//   vmm/                                the VM's user's: sockets, disks, trace and log; new for each incarnation
// Guarantees: a name is a Guid in N format or it is refused, so no request can reach outside; links are never followed on removal.

public sealed class RuntimeDirectory
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode Traversable = OwnerOnly | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    private RuntimeDirectory(Guid id, string path) => (Id, FullPath) = (id, path);

    public Guid Id { get; }
    public string FullPath { get; }
    public string SpecFile => Path.Combine(FullPath, "spec.json");
    public string StateFile => Path.Combine(FullPath, "state.json");
    public string ConsoleRing => Path.Combine(FullPath, "console.ring");
    public string VmmDirectory => Path.Combine(FullPath, "vmm");
    public string QmpSocket => Path.Combine(VmmDirectory, "qmp.sock");
    public string AgentSocket => Path.Combine(VmmDirectory, "agent.sock");
    public string SerialSocket => Path.Combine(VmmDirectory, "serial.sock");
    public string TraceLog => Path.Combine(VmmDirectory, "trace.log");
    public string VmmLog => Path.Combine(VmmDirectory, "vmm.log");
    public string EventPipe => Path.Combine(VmmDirectory, "events");
    public bool Exists => Directory.Exists(FullPath);

    public static RuntimeDirectory Of(string root, Guid id) => new(id, Path.Combine(root, id.ToString("N", CultureInfo.InvariantCulture)));

    /// <summary>Null unless the name is exactly what <see cref="Of"/> would make.</summary>
    public static RuntimeDirectory? Parse(string root, string name) =>
        Guid.TryParseExact(name, "N", out var id) && id.ToString("N", CultureInfo.InvariantCulture) == name ? Of(root, id) : null;

    /// <summary>Every sandbox directory below the root, and the names of whatever else lies there.</summary>
    public static (IReadOnlyList<RuntimeDirectory> Directories, IReadOnlyList<string> Foreign) Scan(string root)
    {
        var directories = new List<RuntimeDirectory>();
        var foreign = new List<string>();
        foreach (var entry in new DirectoryInfo(root).EnumerateFileSystemInfos())
        {
            if (entry is DirectoryInfo { LinkTarget: null } && Parse(root, entry.Name) is { } directory)
                directories.Add(directory);
            else
                foreign.Add(entry.Name);
        }
        return (directories, foreign);
    }

    public static void CreateRoot(string root)
    {
        Directory.CreateDirectory(root, Traversable);
        File.SetUnixFileMode(root, Traversable);
    }

    public void Create()
    {
        Directory.CreateDirectory(FullPath, Traversable);
        File.SetUnixFileMode(FullPath, Traversable);
    }

    /// <summary>A fresh directory of the VMM's own.</summary>
    public void CreateVmmDirectory(uint? user)
    {
        RemoveVmmDirectory();
        Directory.CreateDirectory(VmmDirectory, OwnerOnly);
        if (user is { } id)
            LibC.Own(VmmDirectory, id);
    }

    public void RemoveVmmDirectory() => RemoveTree(VmmDirectory);

    public void Remove() => RemoveTree(FullPath);

    private static void RemoveTree(string path)
    {
        if (!Directory.Exists(path))
            return;
        Directory.Delete(path, recursive: true);
    }
}
