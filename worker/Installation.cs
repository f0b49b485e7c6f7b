using System.Text;

namespace Worker;

/// <summary>A number of the worker's own, made once for a state directory: it tells the node from another machine that shows the same token.</summary>
public static class Installation
{
    // stateDirectory: Locked by this worker. A file that is not whole is made anew: the API then asks for a new join.
    public static Guid Of(string stateDirectory)
    {
        var path = Path.Combine(stateDirectory, "installation");
        if (File.Exists(path) && Guid.TryParse(File.ReadAllText(path).Trim(), out var known) && known != Guid.Empty)
            return known;
        var made = Guid.NewGuid();
        WholeFile.Replace(path, Encoding.ASCII.GetBytes($"{made:N}\n"));
        return made;
    }
}
