namespace GuestAgent.Probe;

/// <summary>Loads the modules that the image lists, in the list's order; those that are there already are no error.</summary>
internal static class KernelModules
{
    private const string List = "/lib/sandbox/probe-modules";

    /// <summary>Null, or what went wrong: a built-in driver needs no module, so the caller goes on and may still succeed.</summary>
    public static string? Load()
    {
        if (!File.Exists(List))
            return null;
        foreach (var path in File.ReadLines(List))
        {
            var file = LibC.Open(path, LibC.ReadOnly | LibC.CloseOnExec);
            if (file < 0)
                return $"open {path}: {LibC.Describe(LibC.LastError)}";
            var failed = LibC.LoadModule(file) < 0 && LibC.LastError != LibC.EExist ? $"load {path}: {LibC.Describe(LibC.LastError)}" : null;
            LibC.Close(file);
            if (failed is not null)
                return failed;
        }
        return null;
    }
}
